"""Scores of a clustering against known classes. All need labels; none is used in training.

Arguments are NumPy vectors of one length N: ``labels`` class ids 0..C-1, ``clusters`` cluster ids 0..K-1. C
and K may differ.
"""

from dataclasses import dataclass

import numpy as np


def confusion_matrix(
    labels: np.ndarray, clusters: np.ndarray, num_clusters: int, num_classes: int | None = None
) -> np.ndarray:
    """Counts (C, K) int64: entry (c, k) is how many points of class c lie in cluster k.

    ``num_classes`` defaults to the largest label + 1. Raises ValueError for vectors of different lengths,
    empty ones, and ids out of range.
    """
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    if labels.shape != clusters.shape or labels.ndim != 1 or len(labels) == 0:
        raise ValueError(
            f"labels of shape {labels.shape} and clusters of shape {clusters.shape} must be non-empty vectors"
            " of one length: score only points whose label is known"
        )
    rows = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.min() < 0 or labels.max() >= rows:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}: they must lie in 0..{rows - 1}")
    if clusters.min() < 0 or clusters.max() >= num_clusters:
        raise ValueError(
            f"clusters run from {clusters.min()} to {clusters.max()}: they must lie in 0..{num_clusters - 1}"
        )
    cells = labels.astype(np.int64) * num_clusters + clusters
    return np.bincount(cells, minlength=rows * num_clusters).reshape(rows, num_clusters)


def match_clusters(confusion: np.ndarray) -> np.ndarray:
    """The Hungarian matching of a (C, K) confusion matrix: (K,) int64, the class of each cluster or -1.

    One-to-one and of the largest total count. With more clusters than classes some clusters stay unmatched
    (-1); with fewer, some classes have no cluster.
    """
    from scipy.optimize import linear_sum_assignment

    classes, clusters = linear_sum_assignment(confusion, maximize=True)
    matching = np.full(confusion.shape[1], -1, dtype=np.int64)
    matching[clusters] = classes
    return matching


def hungarian_accuracy(
    labels: np.ndarray, clusters: np.ndarray, num_clusters: int, num_classes: int | None = None
) -> float:
    """The share of points whose cluster is matched to their class; points of unmatched clusters count as
    wrong."""
    confusion = confusion_matrix(labels, clusters, num_clusters, num_classes)
    matching = match_clusters(confusion)
    matched = np.flatnonzero(matching >= 0)
    return float(confusion[matching[matched], matched].sum() / confusion.sum())


def clustering_scores(labels: np.ndarray, clusters: np.ndarray, num_clusters: int) -> dict[str, float]:
    """The scores ``accuracy`` (Hungarian), ``nmi`` (arithmetic mean normalisation) and ``ari`` (adjusted Rand
    index).

    Raises ValueError as `confusion_matrix` does.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "accuracy": hungarian_accuracy(labels, clusters, num_clusters),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }


@dataclass(frozen=True)
class MatchedConfusion:
    """A confusion matrix whose columns are ordered by the Hungarian matching, so that agreement is the
    diagonal."""

    counts: np.ndarray
    """(C, K) int64, columns reordered."""
    clusters: np.ndarray
    """(K,) int64: the cluster id of each column; matched ones by class, then the unmatched, largest first."""
    num_matched: int
    """The leading columns that have a class."""


def matched_confusion(
    labels: np.ndarray, clusters: np.ndarray, num_clusters: int, num_classes: int | None = None
) -> MatchedConfusion:
    """The confusion matrix with the columns in the order of the classes they are matched to."""
    confusion = confusion_matrix(labels, clusters, num_clusters, num_classes)
    matching = match_clusters(confusion)
    unmatched = matching < 0
    order = np.lexsort((-confusion.sum(0), np.where(unmatched, confusion.shape[0], matching)))
    return MatchedConfusion(confusion[:, order], order, int((~unmatched).sum()))
