"""Stopwatches that a busy machine does not disturb."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from cce_ray.experiments.solver_race import stopwatch


@pytest.fixture(scope="package", autouse=True)
def processor_time() -> Iterator[None]:
    """Races are timed by what this process has had of the processor, however long it had to wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=time.process_time))
        yield
