"""The model as MLflow serves it: MLflow copies this file into the logged model and runs the copy.

`predict` takes what the run was trained on: an array (n, *input shape), for embeddings also a DataFrame of D
columns. It returns a DataFrame with the columns ``cluster`` (int64), ``confidence`` and ``p0`` ... ``p{K-1}``
(float32), its index being that of a DataFrame given.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import pandas as pd


class ClusterModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A trained classifier behind MLflow's generic interface."""

    def load_context(self, context: Any) -> None:
        """Read the model file; on the GPU if there is one."""
        import torch

        from cce_ray.models import Model, load_classifier

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Model(*load_classifier(context.artifacts["model"], device))

    # MLflow reads the annotation: this one leaves the logged signature in charge, and DataFrames pass too.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Cluster, confidence and probabilities of each sample. ValueError: see `cce_ray.models.Model`."""
        labels = self.model.predict(model_input)
        probs = labels.probabilities
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        table = pd.DataFrame(probs, columns=[f"p{k}" for k in range(probs.shape[1])], index=index)
        table.insert(0, "cluster", labels.clusters)
        table.insert(1, "confidence", labels.confidence)
        return table


mlflow.models.set_model(ClusterModel())
