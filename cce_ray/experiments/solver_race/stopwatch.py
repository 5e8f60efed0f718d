"""Timing short and long calls alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_MOST_REPEATS = 25


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """(seconds, result) of one call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def median_seconds(
    call: Callable[[], object], budget: float, first: float | None = None, most: int = _MOST_REPEATS
) -> float:
    """The median of as many calls as fit into about `budget` seconds: one at least, `most` at most.

    Args:
        call: what to time; the caller has warmed it up.
        budget: seconds.
        first: the time of a call that was made already and counts.
        most: the greatest number of calls.
    """
    times = [timed(call)[0] if first is None else first]
    while len(times) < most and sum(times) + min(times) < budget:
        times.append(timed(call)[0])
    return statistics.median(times)
