"""Fetching a logged or registered model back."""

from __future__ import annotations

from pathlib import Path

from cce_ray.tracking.location import check, locate


def download_model(uri: str) -> Path:
    """The model file of models:/NAME/VERSION, models:/NAME@ALIAS, models:/ID or runs:/ID/model, downloaded.

    The store is MLFLOW_TRACKING_URI's, else the mlflow.db of the working directory, as for MLflow itself.
    Raises ValueError, within seconds, if there is no such store or it holds no such model.
    """
    try:  # before mlflow itself, whose environment it prepares
        from cce_ray.tracking.mlflow_tracker import quiet
    except ModuleNotFoundError:
        raise ValueError(f"model: {uri} needs mlflow; install it, or give the model file itself") from None
    import mlflow
    from mlflow.exceptions import MlflowException

    store = mlflow.get_registry_uri() if uri.startswith("models:") else mlflow.get_tracking_uri()
    place = locate(store, Path.cwd())
    if place.database and not place.database.is_file():  # MLflow would make it, to find nothing in it
        raise ValueError(
            f"model: {uri} was not looked for: there is no MLflow store {place.database}; "
            "set MLFLOW_TRACKING_URI to the store that holds it, e.g. sqlite:///FOLDER_OF_THE_RUN/mlflow.db"
        )
    check(place)
    try:
        with quiet():
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"model: {uri} cannot be fetched from {place.shown} ({reason}); "
            "set MLFLOW_TRACKING_URI to the store that holds it"
        ) from None
    files = sorted(folder.rglob("model.pt"))
    if not files:
        raise ValueError(f"model: {uri} holds no model.pt; give a model that `cce train` logged")
    return files[0]
