"""Nearest neighbours."""

from __future__ import annotations

import numpy as np


def nearest_neighbours(values: np.ndarray, count: int) -> np.ndarray:
    """(n, count) int64: the other rows nearest to each row of (n, D), by Euclidean distance.

    Exact, by brute force: O(n² D). Raises ValueError if there are not so many other rows.
    """
    from sklearn.neighbors import NearestNeighbors

    if count >= len(values):
        raise ValueError(
            f"method.neighbours: {count} neighbours among {len(values)} samples; lower it to "
            f"{len(values) - 1}"
        )
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(values)
    return np.asarray(search.kneighbors(return_distance=False), np.int64)
