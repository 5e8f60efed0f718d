"""The paper's EM in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.kernels.em import Rows
from cce_ray.pseudo_labels.problem import BLOCK_ROWS


def em_blocks_reference(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    prices: np.ndarray,
    limits: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """`kernels.em.em_blocks` in plain NumPy: the same arguments, no scratch, no warm start."""
    probs, labels, _, known = rows
    for b in range(first_block, last_block):
        block = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        old = labels[block].astype(np.float64)
        new = m_step_reference(probs[block].astype(np.float64), prices * old, limits[3])
        new = np.where((known[block] >= 0)[:, None], old, new)
        labels[block] = new
        partials[b, :-1] = labels[block].sum(axis=0, dtype=np.float64)
        partials[b, -1] = np.abs(new - old).max()


@np.errstate(over="ignore")  # an infinite sum is right: d is left of the root
def m_step_reference(probs: np.ndarray, weights: np.ndarray, tiny: float) -> np.ndarray:
    """The exact minimiser of (15), -ln σᵀy - Σ_k a_k ln y_k, for every row.

    Args:
        probs: σ, (B, K), float64.
        weights: a, (B, K), float64, >= 0.
        tiny: floor of the positive entries of the result.

    Returns:
        y, (B, K), float64.
    """
    weights = np.where(weights > 0, np.maximum(weights, tiny), 0.0)
    peak = probs.max(axis=1, keepdims=True)
    deficit = (peak - probs) / peak
    total = weights.sum(axis=1, keepdims=True)

    def terms(slack: np.ndarray) -> np.ndarray:
        denominator = (1 + total) * deficit + (1 - deficit) * slack
        return np.where(weights > 0, weights / np.maximum(denominator, tiny), 0.0)

    # Bisection for h(d) = 1; h falls, and d = A is a right bound.
    low = np.where(deficit == 0, weights, 0.0).max(axis=1, keepdims=True)
    unbounded = low == 0.0
    high = total.copy()
    for _ in range(200):
        middle = 0.5 * (low + high)
        too_small = terms(middle).sum(axis=1, keepdims=True) > 1
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    labels = terms(high)
    labels /= np.maximum(labels.sum(axis=1, keepdims=True), tiny)

    # The supplement's case: a top class without weight takes what the others leave at d = 0.
    at_zero = terms(np.zeros_like(total))
    left = 1 - at_zero.sum(axis=1, keepdims=True)
    free = (unbounded & (left >= 0))[:, 0]
    labels[free] = at_zero[free]
    labels[free, deficit[free].argmin(axis=1)] = left[free, 0]
    return np.where(weights > 0, np.maximum(labels, tiny), labels)
