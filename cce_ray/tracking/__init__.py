"""Tracking: a run's parameters, metrics, artifacts and model, behind the `Tracker` protocol."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.tracking.base import NullRun, NullTracker, Status, TrackedRun, Tracker
from cce_ray.tracking.environment import device_name, environment_tags, git_commit
from cce_ray.tracking.location import Location, check, locate
from cce_ray.tracking.tracking_settings import TrackingSettings

if TYPE_CHECKING:
    from cce_ray.tracking.mlflow_loading import download_model
else:
    __getattr__ = lazy(
        __name__,
        {
            "mlflow_loading": ["download_model"],
        },
    )


__all__ = [
    "Location",
    "NullRun",
    "NullTracker",
    "Status",
    "TrackedRun",
    "Tracker",
    "TrackingSettings",
    "check",
    "device_name",
    "download_model",
    "environment_tags",
    "git_commit",
    "locate",
    "make_tracker",
]


def make_tracker(settings: TrackingSettings, output_dir: Path) -> Tracker:
    """The tracker the settings ask for; without MLflow installed the one that does nothing, with a warning.

    ``output_dir`` holds the default store. Raises ValueError, within seconds, for a store that cannot be
    reached.
    """
    if not settings.enabled:
        return NullTracker()
    try:
        from cce_ray.tracking.mlflow_tracker import MLflowTracker
    except ModuleNotFoundError as error:
        if error.name != "mlflow":
            raise
        logging.getLogger(__name__).warning(
            "mlflow is not installed: nothing is tracked (pip install mlflow)"
        )
        return NullTracker()
    return MLflowTracker(settings, output_dir)
