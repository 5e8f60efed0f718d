"""Logging a model file as an MLflow model (models from code), without MLflow's trial inference.

`mlflow.pyfunc.log_model` loads the model and predicts twice to guess requirements and to check the example,
and it works on MLflow's global state. The same steps are taken here with a client.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from cce_ray.tracking.base import ModelOptions

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient

_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "torch", "torchvision")
"""What `cce_ray.models` and the model's code import; the package itself travels inside the model."""


def log_model(client: MlflowClient, run: Any, path: Path, **options: Unpack[ModelOptions]) -> str:
    """Save, upload and perhaps register the model; returns models:/ID, or models:/NAME/VERSION."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run_id = run.info.run_id
    logged = client.create_logged_model(
        run.info.experiment_id, name=options.get("name", "model"), source_run_id=run_id
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run_id,
                model_id=logged.model_id,
            )
            save(Path(folder, "model"), path, model, **options)
            client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=options.get("step", 0))])
    register_as = options.get("register_as")
    if register_as is None:
        return f"models:/{logged.model_id}"
    return _register(client, logged, run_id, register_as, options.get("alias"))


def save(folder: Path, path: Path, model: Any, **options: Unpack[ModelOptions]) -> None:
    """Write the MLflow model to ``folder``: code, weights, signature, example, pinned requirements."""
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=model,
        python_model=str(Path(__file__).with_name("mlflow_model.py")),
        artifacts={"model": str(path)},
        signature=signature(options["input_example"], options["num_clusters"]),
        input_example=options["input_example"],
        pip_requirements=_requirements(),
        code_paths=[str(Path(__file__).parents[1])],
    )


def _requirements() -> list[str]:
    """The installed versions, without build tags such as +cu130, which package indexes do not know."""
    found = []
    for package in _REQUIREMENTS:
        with suppress(PackageNotFoundError):
            found.append(f"{package}=={version(package).partition('+')[0]}")
    return found


def signature(input_example: np.ndarray | pd.DataFrame, num_clusters: int) -> Any:
    """Samples of the example's shape and type in, or columns by their names; cluster, confidence and K
    probabilities out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    columns = [ColSpec("long", "cluster"), ColSpec("float", "confidence")]
    columns += [ColSpec("float", f"p{k}") for k in range(num_clusters)]
    if isinstance(input_example, pd.DataFrame):  # MLflow then orders the columns by name, or refuses them
        inputs = Schema([ColSpec("double", name) for name in input_example.columns])
    else:
        inputs = Schema([TensorSpec(input_example.dtype, (-1, *input_example.shape[1:]))])
    return ModelSignature(inputs=inputs, outputs=Schema(columns))


def _register(client: MlflowClient, logged: Any, run_id: str, name: str, alias: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name, logged.artifact_location, run_id=run_id, model_id=logged.model_id
    )
    if alias:
        client.set_registered_model_alias(name, alias, made.version)
    return f"models:/{name}/{made.version}"
