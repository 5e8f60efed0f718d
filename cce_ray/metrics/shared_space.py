"""Criteria that judge a labelling in one embedding, the same for every labelling that is compared."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

FOLDS = 5
RIDGE = 1.0
"""Penalty of the linear probe on standardised columns, against a sum over the points."""
MOST_POINTS = 10_000
"""More points are sampled: the probe's accuracy is known to 1 % by then."""
_MOST_PAIRED = 2_000
"""Points between which all distances are taken, for the silhouette."""

_IMAGE_COMPONENTS = 50
"""Principal components of the pixels in which labellings of images are judged."""


@final
@dataclass(frozen=True)
class SharedSpace:
    """A fixed embedding, prepared so that judging one labelling takes milliseconds.

    `generalization` trains a linear probe on the clusters of four fifths of the points and asks it for those
    of the last fifth (five times): HUME (2311.02940) and TURTLE (2406.07236) find that clusters which a
    simple classifier can predict tend to be the classes. `silhouette` is scikit-learn's, in this space and
    not in each model's own, where it would flatter the model (2403.14830; 2406.02465).
    """

    rows: np.ndarray
    """(n,) int64: which of the points are judged, in an order at random; the folds are its parts."""
    embedding: np.ndarray
    """(n, D) float32, standardised."""
    solved: np.ndarray
    """(n, D) float32: each point's row times the inverse of its training folds' ridge Gram matrix, so that
    the probe's answer is this row times the training folds' sums of rows by cluster."""
    paired: np.ndarray
    """(m, m) float32: distances between the first m rows."""

    def generalization(self, clusters: np.ndarray, num_clusters: int) -> float:
        """Mean over the non-empty clusters of the share that the held-out probe finds again, in 0..1.

        Args:
            clusters: (N,) int64 of all points. Complexity O(n D K).
        """
        own = clusters[self.rows]
        targets = np.eye(num_clusters, dtype=np.float32)[own]
        found = np.empty(len(own), np.int64)
        parts = _folds(len(own))
        sums = [self.embedding[part].T @ targets[part] for part in parts]
        counts = [targets[part].sum(0) for part in parts]
        for number, part in enumerate(parts):
            rest = [other for other in range(len(parts)) if other != number]
            shares = sum(counts[other] for other in rest) / max(1, len(own) - len(targets[part]))
            answers = self.solved[part] @ sum(sums[other] for other in rest) + shares
            found[part] = answers.argmax(1)
        sizes = np.bincount(own, minlength=num_clusters)
        right = np.bincount(own[found == own], minlength=num_clusters)
        return float((right[sizes > 0] / sizes[sizes > 0]).mean())

    def silhouette(self, clusters: np.ndarray) -> float:
        """Mean silhouette coefficient of the sampled points, in -1..1; -1 for a single cluster."""
        from sklearn.metrics import silhouette_score

        own = clusters[self.rows[: len(self.paired)]]
        if not 2 <= len(np.unique(own)) < len(own):
            return -1.0
        return float(silhouette_score(self.paired, own, metric="precomputed"))


def chosen_points(count: int, seed: int = 0) -> np.ndarray:
    """(n,) int64: the points that are judged of `count`, in an order at random."""
    return np.random.default_rng(seed).permutation(count)[:MOST_POINTS]


def make_shared_space(rows: np.ndarray, embedding: np.ndarray) -> SharedSpace:
    """Prepare the embedding (n, D) of the points `rows` (n,). Complexity O(n D²), once.

    Raises ValueError for an embedding that is not finite, or of fewer than ten points.
    """
    if embedding.ndim != 2 or len(embedding) < 2 * FOLDS:
        raise ValueError(
            f"embedding: an array of shape {embedding.shape} cannot be judged in; give one row for each of "
            f"at least {2 * FOLDS} samples"
        )
    values = np.asarray(embedding, np.float32)
    if not np.isfinite(values).all():
        raise ValueError("embedding: not finite; give one without NaN and infinity")
    deviation = values.std(0)
    unit = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    values = (values - values.mean(0)) * unit
    return SharedSpace(rows, values, _solved(values), _distances(values[:_MOST_PAIRED]))


def _folds(count: int) -> list[slice]:
    edges = [count * number // FOLDS for number in range(FOLDS + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def _solved(values: np.ndarray) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    solved = np.empty_like(values)
    parts = _folds(len(values))
    grams = [values[part].T @ values[part] for part in parts]
    whole: np.ndarray = np.sum(grams, axis=0) + RIDGE * np.eye(values.shape[1], dtype=np.float32)
    for part, gram in zip(parts, grams, strict=True):
        solved[part] = cho_solve(cho_factor(whole - gram), values[part].T).T
    return solved


def _distances(values: np.ndarray) -> np.ndarray:
    squares = np.square(values).sum(1)
    distances: np.ndarray = np.sqrt(np.maximum(np.add.outer(squares, squares) - 2 * values @ values.T, 0))
    np.fill_diagonal(distances, 0)
    return distances


def principal_components(values: np.ndarray) -> np.ndarray:
    """(n, 50) float32: the first principal components of the pixels (n, D), fewer if there are no more."""
    from sklearn.decomposition import PCA

    count = min(_IMAGE_COMPONENTS, *values.shape)
    found: np.ndarray = PCA(count, svd_solver="randomized", random_state=0).fit_transform(values)
    return found.astype(np.float32)


def mutual_information(probs: np.ndarray) -> float:
    """I of points and clusters under the predictions (N, K), in nats: H(mean of σ) minus the mean of H(σ)."""

    def entropy(p: np.ndarray) -> np.ndarray:
        terms: np.ndarray = p * np.log(np.maximum(p, 1e-30))
        return np.asarray(-terms.sum(axis=-1, dtype=np.float64))

    return float(entropy(probs.mean(0, dtype=np.float64)) - entropy(probs).mean())
