"""The prior u, the clusters' wanted shares: how far it may be missed free of charge."""

import numpy as np


def wanted_shares(mean: np.ndarray, prior: np.ndarray, slack: float) -> np.ndarray:
    """The shares v within u_k (1 ± slack), with sum one, that are nearest to ȳ; u itself without slack.

    Nearest in KL(v‖ȳ) and in KL(ȳ‖v) alike: both have v_k = clip(c ȳ_k, low_k, high_k) as their condition of
    optimality. Σ_k v_k is piecewise linear and rises in c, so c follows exactly once the two neighbouring
    edges low_k/ȳ_k, high_k/ȳ_k are known between which it passes 1. O(K log K).

    Args:
        mean: ȳ, (K,), > 0; it need not sum to one.
        prior: u, (K,), sums to one.
        slack: ε >= 0; the lower limits end at 0, the upper ones at 1.
    """
    if slack == 0:
        return prior
    low, high = np.maximum(prior * (1.0 - slack), 0.0), np.minimum(prior * (1.0 + slack), 1.0)
    rise, stop = low / mean, high / mean
    edges = np.sort(np.concatenate([rise, stop]))

    def shares(scale: float) -> np.ndarray:
        clipped: np.ndarray = np.minimum(np.maximum(scale * mean, low), high)
        return clipped

    below, above = 0, len(edges) - 1
    if low.sum() >= 1.0 or high.sum() <= 1.0:  # a slack of the size of rounding errors
        return low if low.sum() >= 1.0 else high
    while above - below > 1:
        middle = (below + above) // 2
        if shares(edges[middle]).sum() <= 1.0:
            below = middle
        else:
            above = middle
    free = (rise <= edges[below]) & (stop >= edges[above]) & (rise < stop)
    scale = edges[below]
    if free.any():
        fixed = np.where(stop <= edges[below], high, low)[~free].sum()
        scale = min(max((1.0 - fixed) / mean[free].sum(), edges[below]), edges[above])
    return shares(scale)
