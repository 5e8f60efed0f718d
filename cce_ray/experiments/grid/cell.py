"""One place of a grid: what runs there, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, final

from cce_ray.config import RunConfig
from cce_ray.runs import RunSummary

SEARCHED = Path(__file__).parents[1] / "searched"

Measure = Callable[[RunConfig, Path], Mapping[str, float]]
"""(configuration, folder of a finished seed) -> {score: value}: scores that a run does not have by itself."""


@final
@dataclass(frozen=True)
class Cell:
    """What one place of a grid runs."""

    run: str
    """A built-in run, or a run file."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """{dotted key: value}; over those of the row and of the column."""


def found_by_search(table: str, row: str, column: str) -> Cell | str:
    """The cell of `searched/TABLE/ROW-COLUMN.yaml`, a run file such as the best.yaml of `cce tune`; without
    that file a reason. The column says where the data are, whatever stands there."""
    file = SEARCHED / table / f"{row}-{column}.yaml".replace("/", "_")
    if not file.is_file():
        return f"its settings were not searched: there is no {file.relative_to(SEARCHED)}"
    return Cell(str(file))


@final
@dataclass(frozen=True)
class CellResult:
    """What became of one place of a grid."""

    row: str
    column: str
    status: Literal["done", "not run", "absent"]
    """absent: its data are not there."""
    reason: str | None = None
    """Why there is no number; None if there is."""
    per_seed: Mapping[str, list[float]] = field(default_factory=dict)
    """{score: a value a seed}, 0 to 1."""
    summary: RunSummary | None = None
    warnings: tuple[str, ...] = ()
    """A collapse, say."""
    command: str = ""
    """That repeats the run."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """{dotted key: value}."""

    def mean(self, score: str) -> float | None:
        """Over the seeds; None without such a score."""
        values = self.per_seed.get(score)
        return fmean(values) if values else None

    def sd(self, score: str) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one."""
        values = self.per_seed.get(score, [])
        return stdev(values) if len(values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {"row": self.row, "column": self.column, "status": self.status}
        if self.summary is None:
            return {**told, "reason": self.reason}
        kept = ("seeds", "clusters_used", "num_clusters", "seconds", "device", "threads", "commit")
        return {
            **told,
            "mean": {score: self.mean(score) for score in self.per_seed},
            "sd": {score: self.sd(score) for score in self.per_seed},
            "per_seed": dict(self.per_seed),
            **{key: getattr(self.summary, key) for key in kept},
            "warnings": list(self.warnings),
            "command": self.command,
            "config": dict(self.config),
        }
