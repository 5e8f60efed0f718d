"""The record of a search: one file a trial, written by the driver. All knowledge is rebuilt from them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cce_ray.files import read_record, write_json
from cce_ray.runs import RESULT_FILE

_RECORD_FILE = "trial.json"

_DONE = ("finished", "stopped", "collapsed", "diverged")
"""States that count as a trial done: to the end, by the scheduler, or for one of two good reasons."""


@dataclass
class TrialRecord:
    """One trial. `state` is running, failed (its process was lost too often) or one of DONE."""

    number: int
    study: str
    sample: dict[str, Any]
    state: str = "running"
    value: float | None = None
    """Of the objective, at the last judged epoch."""
    epochs: int = 0
    seconds: float = 0.0
    run_id: str | None = None
    criteria: dict[str, float] = field(default_factory=dict)
    """At the last judged epoch; of the first data set in a joint search."""
    judged: list[tuple[int, float]] = field(default_factory=list)
    """(epoch, value) of every judged epoch."""
    scores: dict[str, float] = field(default_factory=dict)
    """{data set: scaled score} in a joint search."""
    reason: str = ""
    """Why it did not finish."""
    closed: bool = False
    """Whether its tracked run has been ended."""

    @property
    def done(self) -> bool:
        """Whether it counts among the trials asked for."""
        return self.state in _DONE


def trial_folder(study: Path, number: int) -> Path:
    """Where a trial keeps its files."""
    return study / "trials" / f"{number:04d}"


def tidy(study: Path, number: int) -> None:
    """Remove what a trial that is over leaves beside its record: only the last round's models are kept."""
    for path in trial_folder(study, number).iterdir():
        if path.is_dir() and not path.name.startswith("seed_"):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file() and path.name not in (_RECORD_FILE, RESULT_FILE):
            path.unlink(missing_ok=True)


def write_trial(study: Path, record: TrialRecord) -> None:
    """Write a record whole."""
    folder = trial_folder(study, record.number)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _RECORD_FILE, asdict(record))


def read_trials(study: Path) -> list[TrialRecord]:
    """All trials of a study folder, by number."""
    files = sorted((study / "trials").glob(f"*/{_RECORD_FILE}"))
    records = [record for record in (read_record(path, TrialRecord) for path in files) if record]
    return sorted(records, key=lambda record: record.number)


def best_first(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Done trials, best value first; the earlier of two equal ones first."""
    done = [record for record in records if record.done and record.value is not None]
    return sorted(done, key=lambda record: (-(record.value or 0.0), record.number))
