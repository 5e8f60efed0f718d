"""EM of one batch as a Numba-jitted remote task, while the trainer goes on with the augmented view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@final
class EMTasks:
    """A helper that computes in Ray tasks on this node; arrays go and come through the object store.

    The tasks ask for no CPU of their own. Were they to ask, and all CPUs held by workers that wait for them,
    none would ever run; the CPU they compute on is part of what their worker has reserved
    (`plan.worker_resources`). A task whose process dies is run again by Ray.
    """

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._task = ray.remote(_call).options(num_cpus=0, scheduling_strategy=here, max_retries=-1)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> EMAnswer:
        """Begin function(*arguments); arrays are put into the object store, without a copy on the way out."""
        passed = [ray.put(value) if isinstance(value, np.ndarray) else value for value in arguments]
        return EMAnswer(self._task.remote(function, *passed))


@final
class EMAnswer:
    """The result of a task."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def result(self) -> Any:
        """Wait for it."""
        return ray.get(self._reference)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
