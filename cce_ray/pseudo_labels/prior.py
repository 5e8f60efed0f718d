"""The prior u, the clusters' wanted shares: estimated from the predictions, or missed free of charge."""

import numpy as np

from cce_ray.pseudo_labels.problem import EMPTY_SHARE


def next_prior(prior: np.ndarray, probs: np.ndarray, *, rate: float, floor: float) -> np.ndarray:
    """One damped step of EM for the clusters' shares: u + rate · (mean_i σ_i - u), floored.

    Let x come from a mixture with shares u. EM's E-step is the posterior p(k|x_i) at the present u, its
    M-step u_k = mean_i p(k|x_i), and each such step raises the likelihood of the x_i (damped ones too: it is
    concave in u). A network trained on pseudo-labels whose shares are drawn to u approximates that very
    posterior, so σ is the E-step as it stands. Had σ been made under other shares π, the posterior would be
    that of Saerens, Latinne and Decaestecker (2002), q_ik ∝ σ_ik u_k / π_k; in training π follows u.

    The pseudo-labels' own means will not do in σ's place: the fairness term has drawn them to u already, for
    large λ all the way, and then every u confirms itself. Measured in training (the run `features` on
    Gaussian blobs with sizes 30:1, three draws, two seeds; uniform 0.69, 0.65, 0.64 at λ = 5, 25, 100):
    accuracy 0.92, 0.94, 0.92 after σ; 0.79, 0.70, 0.65 after the pseudo-labels, and undamped 0.89, 0.94,
    0.78. Correcting σ for a π that lags behind u gained nothing: 0.89 to 0.92, against 0.92 without (two
    draws, three seeds).

    Args:
        prior: u, (K,), sums to one.
        probs: σ, (B, K), made under the present u.
        rate: damping, in (0, 1]; 1 takes the batch's mean as it is.
        floor: smallest share, in units of 1/K, in [0, 1). Larger shares are scaled to keep the sum. A
            cluster whose u_k reached 0 would have no pseudo-label, then no prediction, and never return.

    Returns:
        The new u, (K,), float64. A u that is the mean of σ, and nowhere below the floor, stays.
    """
    target = probs.mean(axis=0, dtype=np.float64)
    low = np.full(len(prior), max(floor / len(prior), EMPTY_SHARE))
    return _nearest_shares(np.maximum(prior + rate * (target - prior), low), low, np.ones(len(prior)))


def wanted_shares(mean: np.ndarray, prior: np.ndarray, slack: float) -> np.ndarray:
    """The shares v within u_k (1 ± slack), with sum one, that are nearest to ȳ; u itself without slack.

    Args:
        mean: ȳ, (K,), > 0; it need not sum to one.
        prior: u, (K,), sums to one.
        slack: ε >= 0; the lower limits end at 0, the upper ones at 1.
    """
    if slack == 0:
        return prior
    low, high = np.maximum(prior * (1.0 - slack), 0.0), np.minimum(prior * (1.0 + slack), 1.0)
    return _nearest_shares(mean, low, high)


def _nearest_shares(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The shares v, low <= v <= high, with sum one, that are nearest to ȳ.

    Nearest in KL(v‖ȳ) and in KL(ȳ‖v) alike: both have v_k = clip(c ȳ_k, low_k, high_k) as their condition of
    optimality. Σ_k v_k is piecewise linear and rises in c, so c follows exactly once the two neighbouring
    edges low_k/ȳ_k, high_k/ȳ_k are known between which it passes 1. O(K log K).

    Args:
        mean: ȳ, (K,), > 0; it need not sum to one.
        low, high: (K,), with Σ low <= 1 <= Σ high.
    """
    rise, stop = low / mean, high / mean
    edges = np.sort(np.concatenate([rise, stop]))

    def shares(scale: float) -> np.ndarray:
        clipped: np.ndarray = np.minimum(np.maximum(scale * mean, low), high)
        return clipped

    below, above = 0, len(edges) - 1
    if low.sum() >= 1.0 or high.sum() <= 1.0:  # limits that differ by rounding errors
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
