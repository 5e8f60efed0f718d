"""Soft pseudo-labels in closed form, as in the alternating direction method of Jabi et al. (2021)."""

from __future__ import annotations

import numpy as np


def balanced_labels(
    probs: np.ndarray, *, fairness_weight: float = 1.0, known_labels: np.ndarray | None = None
) -> np.ndarray:
    """y_ik ∝ σ_ik / σ̄_k^(λ/(1+λ)), (M, K) float64: the predictions, large clusters held back.

    A stationary point of KL(y‖σ) + λ KL(ȳ‖u), u uniform, has y_ik ∝ σ_ik / ȳ_k^λ; summed over i with the
    normalisers of the rows taken as equal, ȳ_k ∝ σ̄_k^(1/(1+λ)). With λ = 1 that is the square root of
    Ghasedi Dizaji et al. (DEPICT, ICCV 2017) and Jabi et al. (Deep Clustering: On the Link Between
    Discriminative Models and K-Means, TPAMI 2021).

    Args:
        probs: σ, (M, K).
        fairness_weight: λ >= 0.
        known_labels: (M,) int64, -1 unknown; the others' rows are fixed.
    """
    sigma = probs.astype(np.float64)
    shares = np.maximum(sigma.mean(0), np.finfo(np.float64).tiny)
    labels: np.ndarray = sigma / shares ** (fairness_weight / (1 + fairness_weight))
    labels /= labels.sum(1, keepdims=True)
    if known_labels is not None and (known_labels >= 0).any():
        known = known_labels >= 0
        labels[known] = 0.0
        labels[known, known_labels[known]] = 1.0
    return labels
