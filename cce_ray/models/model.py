"""A trained model as its user sees it: samples in, labels out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from cce_ray.models.classifier import Classifier

if TYPE_CHECKING:
    import pandas as pd

_BATCH_SIZE = 1024


@final
@dataclass(frozen=True)
class Labels:
    """What a model says of N samples."""

    ids: np.ndarray
    """(N,) the samples' names: int64 places in their source, or text: their files or the user's ids."""
    clusters: np.ndarray
    """(N,) int64, 0..K-1: the most probable cluster."""
    probabilities: np.ndarray
    """(N, K) float32; rows sum to one."""

    def __len__(self) -> int:
        return len(self.clusters)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) float32: the probability of each sample's cluster."""
        return self.probabilities[np.arange(len(self)), self.clusters]


@final
class Model:
    """A trained model, read back.

    Attributes:
        classifier: the torch module, in evaluation mode.
        metadata: what the model file says of its training: configuration, data set, class names, scores.
    """

    def __init__(self, classifier: Classifier, metadata: Mapping[str, Any]) -> None:
        self.classifier, self.metadata = classifier, metadata

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.classifier.num_clusters

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample: (channels, height, width) of images, (D,) of embeddings."""
        return tuple(self.classifier.input_shape)

    def predict(self, samples: np.ndarray | torch.Tensor | pd.DataFrame) -> Labels:
        """Label samples in memory.

        Args:
            samples: (N, *input_shape), of any numeric type; uint8 images count as x/255, as in training. The
                columns of a DataFrame are found by their names where the model knows the names of its own,
                and its index gives the ids.

        Raises:
            ValueError: one line: samples of another shape, of no numbers or not finite, or columns that lack.
        """
        array, ids = self._array(samples)
        parts = [np.empty((0, self.num_clusters), np.float32), *self._probabilities(array)]
        probabilities = np.concatenate(parts)
        return Labels(ids, probabilities.argmax(1).astype(np.int64), probabilities)

    def _array(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Checked samples (N, *input_shape), uint8 or float32, and their ids."""
        ids = None
        if hasattr(samples, "columns"):
            samples, ids = self._columns(samples), np.asarray(samples.index)
        if isinstance(samples, torch.Tensor):
            samples = samples.detach().cpu().numpy()
        array = np.asarray(samples)
        if array.shape[1:] != self.input_shape or not array.ndim:
            expected = ", ".join(["n", *map(str, self.input_shape)])
            raise ValueError(f"samples: shape {array.shape} does not fit the model; give ({expected})")
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"samples: {array.dtype} holds no numbers; give an array of floats or uint8 images"
            )
        if array.dtype != np.uint8:
            array = array.astype(np.float32, copy=False)
            finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
            if not finite.all():
                row = int(np.argmin(finite))
                raise ValueError(f"samples: row {row} holds NaN or infinity; drop such rows or fill them")
        return array, np.arange(len(array)) if ids is None else ids

    def _columns(self, table: pd.DataFrame) -> pd.DataFrame:
        """The model's columns of a table, in the model's order; by position where it does not know names."""
        names = (self.metadata.get("reading") or {}).get("columns")
        if not names:
            return table
        lacking = [name for name in names if name not in table.columns]
        if lacking:
            raise ValueError(
                f"samples: column {lacking[0]!r} of the model is not in the table; its columns are "
                f"{', '.join(map(str, names))[:80]}"
            )
        return table[list(names)]

    def _probabilities(self, array: np.ndarray) -> Iterator[np.ndarray]:
        device = self.classifier.shift.device
        with torch.inference_mode():
            for start in range(0, len(array), _BATCH_SIZE):
                batch = torch.from_numpy(np.ascontiguousarray(array[start : start + _BATCH_SIZE]))
                yield torch.softmax(self.classifier(batch.to(device)).float(), -1).cpu().numpy()
