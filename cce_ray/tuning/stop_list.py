"""Stopping trials that have workers of their own.

Tune kills the trial it stops, and Ray Train's workers and their placement group outlive it where nobody
cleans up (with the dashboard off, for ever: the sweep hangs). So such a trial is told instead, and ends by
itself.
"""

from __future__ import annotations

from typing import Any

import ray


class _StopList:
    def __init__(self) -> None:
        self._numbers: set[int] = set()

    def add(self, number: int) -> None:
        """The scheduler stops a trial."""
        self._numbers.add(number)

    def has(self, number: int) -> bool:
        """Whether a trial should end."""
        return number in self._numbers


def make_stop_list() -> Any:
    """An actor that needs none of the CPUs that Ray schedules."""
    return ray.remote(_StopList).options(num_cpus=0).remote()
