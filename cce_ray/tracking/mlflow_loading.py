"""Fetching a logged or registered model back."""

from __future__ import annotations

from pathlib import Path


def download_model(uri: str) -> Path:
    """The model file of models:/NAME/VERSION, models:/NAME@ALIAS, models:/ID or runs:/ID/model, downloaded.

    The store is MLFLOW_TRACKING_URI's. Raises ValueError if it holds no such model.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    from cce_ray.tracking.mlflow_tracker import quiet

    try:
        with quiet():
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"model: {uri} cannot be fetched from {mlflow.get_tracking_uri()} ({reason}); "
            "set MLFLOW_TRACKING_URI to the store that holds it"
        ) from None
    files = sorted(folder.rglob("model.pt"))
    if not files:
        raise ValueError(f"model: {uri} holds no model.pt; give a model that `cce train` logged")
    return files[0]
