"""Statistics of the training samples for the normalisation in front of the model."""

from __future__ import annotations

import math

import numpy as np

from cce_ray.data.data_settings import DataSettings
from cce_ray.data.dataset import Dataset

CHUNK_BYTES = 32 * 2**20


def normalization(dataset: Dataset, settings: DataSettings) -> tuple[np.ndarray, np.ndarray]:
    """(shift, scale), float32, for x_normalised = (x - shift) * scale, in one pass over the training samples.

    Images (uint8 counted as x/255): mean and 1/sd per channel, (C, 1, 1). Embeddings: mean and
    norm/sqrt(D)/sd per dimension, (D,), so that the mean square norm is norm² (scale 0 for constant
    dimensions); identity without ``standardize``.

    Raises:
        ValueError: a sample cannot be read or is not finite.
    """
    if dataset.kind == "images":
        mean, deviation = _moments(dataset, axes=(0, 2, 3))
        scale = np.divide(1, deviation, out=np.ones_like(deviation), where=deviation > 0)
        return mean.astype(np.float32)[:, None, None], scale.astype(np.float32)[:, None, None]
    dimensions = dataset.samples.shape[0]
    if not settings.standardize:
        return np.zeros(dimensions, np.float32), np.ones(dimensions, np.float32)
    mean, deviation = _moments(dataset, axes=(0,))
    # What varies by less than the spacing of float32 is rounding; scaled up it would be pure noise.
    varies = deviation > 1e-7 * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
    unit = settings.norm / math.sqrt(dimensions)
    scale = np.divide(unit, deviation, out=np.zeros_like(deviation), where=varies)
    return mean.astype(np.float32), scale.astype(np.float32)


def _moments(dataset: Dataset, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over ``axes``, float64, merged chunk by chunk (Chan et al. 1979)."""
    samples, indices = dataset.samples, dataset.train_indices
    rows = max(1, CHUNK_BYTES // (8 * math.prod(samples.shape)))
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for start in range(0, len(indices), rows):
        chunk = samples.read(indices[start : start + rows])
        values = chunk.astype(np.float64)
        chunk_mean = values.mean(axis=axes, keepdims=True)
        values -= chunk_mean
        chunk_squares = np.square(values, out=values).sum(axis=axes)
        chunk_mean = chunk_mean.reshape(-1)
        size = chunk.size // chunk_mean.size
        delta = chunk_mean - mean
        squares = squares + chunk_squares + delta**2 * (count * size / (count + size))
        mean = mean + delta * (size / (count + size))
        count += size
    unit = 255 if samples.dtype == np.uint8 else 1
    return mean / unit, np.sqrt(squares / count) / unit
