"""The tracked runs of a run: opened, found again on resume, closed with the status their end deserves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cce_ray.config import RunConfig, flatten
from cce_ray.data import Dataset
from cce_ray.files import write_text
from cce_ray.tracking import Status, TrackedRun, Tracker, environment_tags

_RUN_FILE = "run_id.txt"
"""In a folder: the id of the tracked run that belongs to it."""


@contextmanager
def tracked_run(
    tracker: Tracker,
    folder: Path,
    name: str,
    config: RunConfig,
    dataset: Dataset,
    *,
    parent: TrackedRun | None = None,
    resume: bool = False,
) -> Iterator[TrackedRun]:
    """The tracked run of a folder for the length of a block; with `resume` the one started for it before."""
    run_file = folder / _RUN_FILE
    started = tracker.start_run(
        name,
        params=flatten(config.to_dict()),
        tags=run_tags(config, dataset),
        parent_id=parent.id if parent else None,
        run_id=run_file.read_text(encoding="utf-8").strip() if resume and run_file.exists() else None,
    )
    with finishing(started) as run:
        if run.id:
            write_text(run_file, run.id)
        yield run


def run_tags(config: RunConfig, dataset: Dataset) -> dict[str, str]:
    """Tags of a tracked run: where it came from and what it is about."""
    about = {"method": config.method.name, "dataset": dataset.name, "threads": str(config.runtime.threads)}
    return environment_tags(config.runtime.torch_device().type) | about


@contextmanager
def finishing(run: TrackedRun) -> Iterator[TrackedRun]:
    """Close a tracked run with the status its end deserves."""
    status: Status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.finish(status)
