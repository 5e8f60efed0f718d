"""What a run needs of a tracker, and the tracker that does nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Required, TypedDict, Unpack

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Status = Literal["FINISHED", "FAILED", "KILLED"]


class RunOptions(TypedDict, total=False):
    """How a run is opened."""

    params: Mapping[str, object]
    """Flat dotted settings."""
    tags: Mapping[str, str]
    parent_id: str | None
    """The run that it belongs below."""
    run_id: str | None
    """Continue this run; if it is gone, a new one is opened."""


class ModelOptions(TypedDict, total=False):
    """What a tracker has to know of a model file."""

    input_example: Required[np.ndarray | pd.DataFrame]
    """(n, *input shape) a few samples in the type the model will be called with; a table where its columns
    have names."""
    num_clusters: Required[int]
    name: str
    """By default "model"."""
    step: int
    register_as: str | None
    """Register it under this name; by default under the settings' ``register_model``, if there is one."""
    alias: str | None
    """Of the registered model; its new version takes it over."""


class TrackedRun(Protocol):
    """One run in a tracker. An outage after the start is a warning, no error: the results are on disk."""

    id: str | None
    """The tracker's id of the run; None if nothing is tracked."""

    def log_metrics(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Log one step's metrics together. Steps the run already holds and None values are skipped."""

    def log_artifacts(self, paths: Iterable[Path], folder: str = "") -> None:
        """Copy files (or whole folders) below ``folder`` of the run's artifacts."""

    def log_model(self, path: Path, **options: Unpack[ModelOptions]) -> str | None:
        """Log the file that `cce_ray.models.save_classifier` wrote as a servable model; returns its URI."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or overwrite tags."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run. Metrics still held back go out first."""


class Tracker(Protocol):
    """A place that keeps runs."""

    location: str | None
    """Its URI; None if nothing is tracked."""
    ui: str | None
    """The command or the address that shows it."""
    page: str | None
    """The address of the experiment's training runs, once ``ui`` serves; its first page is on LLM traces."""

    def start_run(self, name: str, **options: Unpack[RunOptions]) -> TrackedRun:
        """Open or continue a run. If the tracker is away, the first run is refused (ValueError); later ones
        are not kept."""

    def forget_children(self, parent_id: str | None, kept: Collection[str]) -> None:
        """Delete the runs below ``parent_id`` that are not in ``kept``: what a killed process had opened and
        not written down."""


class NullRun:
    """A run that nobody keeps."""

    id: str | None = None

    def log_metrics(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Do nothing."""

    def log_artifacts(self, paths: Iterable[Path], folder: str = "") -> None:
        """Do nothing."""

    def log_model(self, path: Path, **options: Unpack[ModelOptions]) -> str | None:
        """Do nothing; there is no URI."""
        return None

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Do nothing."""


class NullTracker:
    """Tracking switched off, or no MLflow installed."""

    location: str | None = None
    ui: str | None = None
    page: str | None = None

    def start_run(self, name: str, **options: Unpack[RunOptions]) -> TrackedRun:
        """A run that keeps nothing."""
        return NullRun()

    def forget_children(self, parent_id: str | None, kept: Collection[str]) -> None:
        """Do nothing."""
