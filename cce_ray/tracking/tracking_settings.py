"""Where runs are tracked."""

from pydantic import Field

from cce_ray.settings import Settings


class TrackingSettings(Settings):
    """MLflow tracking of parameters, metrics, artifacts and the model."""

    enabled: bool = True
    """Whether to track at all."""
    uri: str | None = None
    """MLflow tracking URI; empty: MLFLOW_TRACKING_URI, else a SQLite store in the output folder."""
    experiment: str = Field(default="cce_ray", min_length=1, max_length=500)
    """Name of the MLflow experiment; made if it is not there."""
    register_model: str | None = Field(default=None, min_length=1, max_length=250, pattern=r"^[^/:%\"']+$")
    """Register the model under this name; empty: log it with the run only."""
