"""Hard pseudo-labels of equal shares by optimal transport: SeLa (Asano, Rupprecht & Vedaldi, ICLR 2020)."""

from __future__ import annotations

import numpy as np

_LARGEST_EXPONENT = 600.0
"""Entries of the kernel are at least exp(-this): each stays positive, so that every scaling exists."""


def sinkhorn(
    probs: np.ndarray,
    *,
    sharpness: float,
    prior: np.ndarray | None = None,
    known_labels: np.ndarray | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, int, float]:
    """The transport plan of entropic optimal transport, as rows on the simplex.

    Minimises -Σ y_ik ln σ_ik - (1/sharpness) Σ H(y_i) over y with rows on the simplex and column means u
    (their equation (5), times M): y = diag(a) σ^sharpness diag(b), a and b by Sinkhorn-Knopp scaling.
    Complexity O(M K) an iteration, float64.

    Args:
        probs: σ, (M, K).
        sharpness: their λ; 25 in their code. The larger, the nearer to one-hot rows.
        prior: u, (K,), positive; None: uniform.
        known_labels: (M,) int64, -1 unknown; the others' rows are fixed, and count in the column means.
        tolerance: of the largest column mean's relative error.

    Returns:
        y (M, K) float64, the iterations done and the last relative error.
    """
    points, clusters = probs.shape
    labels = np.zeros((points, clusters))
    free = np.ones(points, bool) if known_labels is None else known_labels < 0
    wanted = np.full(clusters, 1 / clusters) if prior is None else np.asarray(prior, np.float64)
    wanted = points * wanted
    if not free.all():
        assert known_labels is not None
        labels[~free, known_labels[~free]] = 1.0
        # A cluster that the known rows fill already wants nothing more, but every scaling must exist.
        wanted = np.maximum(wanted - labels.sum(0), 1e-6 * points / clusters)
        wanted *= free.sum() / wanted.sum()
    if not free.any():
        return labels, 0, 0.0
    kernel = _kernel(probs[free], sharpness)
    columns, error, iteration = np.ones(clusters), np.inf, 0
    while iteration < max_iterations and error > tolerance:
        rows = 1 / (kernel @ columns)
        sums = rows @ kernel
        error = float(np.abs(columns * sums / wanted - 1).max())
        columns = wanted / sums
        iteration += 1
    plan = kernel * columns
    labels[free] = plan / plan.sum(1, keepdims=True)
    return labels, iteration, error


def hardened(labels: np.ndarray) -> np.ndarray:
    """(M, K) float32: one-hot rows at each row's largest entry, the first of equals."""
    hard = np.zeros(labels.shape, np.float32)
    hard[np.arange(len(labels)), labels.argmax(1)] = 1.0
    return hard


def _kernel(probs: np.ndarray, sharpness: float) -> np.ndarray:
    logs = sharpness * np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float64).tiny))
    logs -= logs.max(1, keepdims=True)
    return np.exp(np.maximum(logs, -_LARGEST_EXPONENT))
