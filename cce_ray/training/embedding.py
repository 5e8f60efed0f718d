"""A fixed embedding of a data set, the same whatever is trained on it, and each sample's neighbours there."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from cce_ray.data import Arrays, Dataset, Samples
from cce_ray.metrics import nearest_neighbours, principal_components

_MOST_KEPT = 100
"""So many neighbours are found at least, for the next run may want more of them."""

# Trials of a search train on the same data one after another.
_found: WeakKeyDictionary[Samples, dict[tuple[Path | None, int], np.ndarray]] = WeakKeyDictionary()


def fixed_embedding(
    dataset: Dataset, indices: np.ndarray, embedding: Path | None, key: str = "embedding"
) -> np.ndarray:
    """(n, D) float32 of the samples `indices` (n,): rows of the given file, else the standardised input of
    embeddings, or principal components of the pixels. ValueError, one line that names the setting `key`, for
    a file that does not fit."""
    if embedding is not None:
        return given_rows(embedding, len(dataset.samples), indices, key)
    order = np.argsort(indices)  # sources on disk read ascending rows fastest
    values = np.empty((len(indices), int(np.prod(dataset.samples.shape))), np.float32)
    for part in np.array_split(order, max(1, len(order) // 1024)):
        values[part] = dataset.samples.read(indices[part]).reshape(len(part), -1)
    return principal_components(values) if dataset.kind == "images" else values


def given_rows(path: Path, count: int, indices: np.ndarray, key: str) -> np.ndarray:
    """The rows of an embedding file."""
    try:
        samples = Arrays(path=path).source().samples
    except ValueError as error:
        raise ValueError(str(error).replace("data.path", key)) from None
    if len(samples.shape) != 1 or len(samples) != count:
        shape = (len(samples), *samples.shape)
        raise ValueError(f"{key}: {path} has shape {shape}; give one row for each of the {count} samples")
    return samples.read(indices)


def training_neighbours(dataset: Dataset, embedding: Path | None, count: int) -> np.ndarray:
    """(n, count) int64: rows of the nearest training samples of each of the n training samples, in order of
    `dataset.train_indices`; kept for the next run on the same samples. Complexity O(n² D)."""
    kept, indices = _found.setdefault(dataset.samples, {}), dataset.train_indices
    key = (embedding, hash(indices.tobytes()))
    if key not in kept or kept[key].shape[1] < count:
        values = standardized(fixed_embedding(dataset, indices, embedding, "method.embedding"))
        kept[key] = indices[nearest_neighbours(values, max(count, min(_MOST_KEPT, len(indices) - 1)))]
    return kept[key][:, :count]


def standardized(values: np.ndarray) -> np.ndarray:
    """(n, D) with columns of mean 0 and variance 1; constant ones are 0."""
    deviation = values.std(0)
    unit = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    result: np.ndarray = (values - values.mean(0)) * unit
    return result
