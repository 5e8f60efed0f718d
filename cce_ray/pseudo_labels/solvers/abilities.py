"""What a solver can do, declared by the solver itself: every check and every choice asks these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Place = Literal["host", "device", "spread"]
"""host: rows in this process's memory; device: where the predictions are, such as a GPU; spread: rows in
several processes, of which only K-vectors travel."""


@final
@dataclass(frozen=True)
class Task:
    """What is asked of a solver."""

    objective: str | None
    """A key of `OBJECTIVES`; None: of a method whose labels no solver estimates."""
    prior_slack: float = 0.0
    gap_tolerance: float | None = None
    known_labels: bool = False
    """Whether the labels of some points are fixed."""


@final
@dataclass(frozen=True)
class Ability:
    """What a solver can do in one place."""

    objectives: tuple[str, ...]
    prior_slack: bool = True
    """Whether the prior may be missed."""
    gap_tolerance: bool = True
    """Whether it can stop at a certified gap."""
    known_labels: bool = True

    def covers(self, task: Task) -> bool:
        """Whether it can do a task."""
        return (
            task.objective in self.objectives
            and (self.prior_slack or task.prior_slack == 0)
            and (self.gap_tolerance or task.gap_tolerance is None)
            and (self.known_labels or not task.known_labels)
        )
