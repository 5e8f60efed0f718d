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

BATCH_SIZE = 1024


class ClusterModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A trained classifier behind MLflow's generic interface."""

    def load_context(self, context: Any) -> None:
        """Read the model file; on the GPU if there is one."""
        import torch

        from cce_ray.models import load_model

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.classifier, _ = load_model(context.artifacts["model"], self.device)

    # MLflow reads the annotation: this one leaves the logged signature in charge, and DataFrames pass too.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Cluster, confidence and probabilities of each sample. ValueError for samples of another shape."""
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        inputs = np.asarray(model_input)
        shape = tuple(self.classifier.input_shape)
        if inputs.shape[1:] != shape:
            wanted = ", ".join(["n", *map(str, shape)])
            raise ValueError(f"input of shape {inputs.shape} does not fit: give an array of shape ({wanted})")
        probs = self._probs(inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32, copy=False))
        table = pd.DataFrame(probs, columns=[f"p{k}" for k in range(probs.shape[1])], index=index)
        table.insert(0, "cluster", probs.argmax(1).astype(np.int64))
        table.insert(1, "confidence", probs.max(1) if len(probs) else np.empty(0, np.float32))
        return table

    def _probs(self, inputs: np.ndarray) -> np.ndarray:
        import torch

        parts = [np.empty((0, self.classifier.num_clusters), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(inputs), BATCH_SIZE):
                batch = torch.from_numpy(np.ascontiguousarray(inputs[start : start + BATCH_SIZE]))
                parts.append(torch.softmax(self.classifier(batch.to(self.device)).float(), -1).cpu().numpy())
        return np.concatenate(parts)


mlflow.models.set_model(ClusterModel())
