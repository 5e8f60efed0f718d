"""Exponentially imbalanced subsets, as Cui et al. (Class-Balanced Loss, CVPR 2019) make them."""

from __future__ import annotations

import numpy as np


def tailed(labels: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """Ascending rows of a subset in which class k of C keeps ratio^(-k/(C-1)) of the smallest class's size,
    and at least one sample.

    Args:
        labels: (N,) int64.
        ratio: size of the first class over that of the last, >= 1.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    random = np.random.default_rng([seed, 2])
    kept = []
    for place, kind in enumerate(classes):
        count = round(sizes.min() * ratio ** (-place / max(1, len(classes) - 1)))
        kept.append(random.permutation(np.flatnonzero(labels == kind))[: max(1, count)])
    return np.sort(np.concatenate(kept))
