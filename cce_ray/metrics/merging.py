"""Fewer clusters out of many: over-clustering followed by merging."""

from __future__ import annotations

import numpy as np


def merge_clusters(values: np.ndarray, clusters: np.ndarray, count: int) -> np.ndarray:
    """(N,) int64: clusters 0..count-1, unions of the given ones, by average linkage of the clusters' means.

    Args:
        values: (N, D): where the means are taken.
        clusters: (N,) int64, at least ``count`` different ones.
        count: how many are left.

    Raises ValueError for fewer clusters than that. Complexity O(N D + K² D), K the number of given clusters.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    given, own = np.unique(clusters, return_inverse=True)
    if len(given) < count:
        raise ValueError(f"clusters: {len(given)} of them cannot be merged to {count}; give more")
    if len(given) == 1:
        return np.zeros(len(clusters), np.int64)
    sums = np.zeros((len(given), values.shape[1]))
    np.add.at(sums, own, values)
    means = sums / np.bincount(own)[:, None]
    merged = fcluster(linkage(means, "average"), count, criterion="maxclust") - 1
    found: np.ndarray = merged[own].astype(np.int64)
    return found
