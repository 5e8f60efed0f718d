"""Soft pseudo-labels in closed form, as in the alternating direction method of Jabi et al. (2021)."""

from __future__ import annotations

import numpy as np


def balanced_labels(
    probs: np.ndarray, *, fairness_weight: float = 1.0, known_labels: np.ndarray | None = None
) -> np.ndarray:
    """y_ik ∝ σ_ik² / (mean_i σ_ik²)^(λ/(1+λ)), (M, K) float64: surer than σ, large clusters held back.

    An alternating direction method gives loss (5) labels y of their own and a penalty for leaving σ:
    H(y, σ) + KL(y‖σ) + λ KL(ȳ‖u), u uniform, means over the points. A stationary point in y has
    y_ik ∝ σ_ik² / ȳ_k^λ; summed over i with the normalisers of the rows taken as equal,
    ȳ_k ∝ (mean_i σ_ik²)^(1/(1+λ)). For λ = 1 the root is the square root that Ghasedi Dizaji et al. (DEPICT,
    ICCV 2017) have without the H(y, σ) term.

    Args:
        probs: σ, (M, K).
        fairness_weight: λ >= 0.
        known_labels: (M,) int64, -1 unknown; the others' rows are fixed.
    """
    sigma = probs.astype(np.float64)
    squares = sigma**2
    shares = np.maximum(squares.mean(0), np.finfo(np.float64).tiny)
    labels: np.ndarray = squares / shares ** (fairness_weight / (1 + fairness_weight))
    labels /= labels.sum(1, keepdims=True)
    if known_labels is not None and (known_labels >= 0).any():
        known = known_labels >= 0
        labels[known] = 0.0
        labels[known, known_labels[known]] = 1.0
    return labels
