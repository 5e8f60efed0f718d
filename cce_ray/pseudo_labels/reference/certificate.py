"""The certificate in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import LOG_FLOOR, Problem


def inner_minimum_reference(probs: np.ndarray, prices: np.ndarray) -> float:
    """min over the simplex of -ln σᵀy - pᵀy for one row, exactly: over all classes and all pairs.

    Args:
        probs: σ, (K,).
        prices: p, (K,).
    """
    sigma = np.maximum(probs.astype(np.float64), LOG_FLOOR)
    values = -np.log(sigma) - prices
    best = float(values.min())
    for a in range(len(sigma)):
        for b in range(len(sigma)):
            step, gain = sigma[b] - sigma[a], prices[b] - prices[a]
            # y = (1-s) e_a + s e_b is stationary where step / (σ_a + s step) = -gain.
            if step != 0 and gain != 0 and 0 < (share := (-step / gain - sigma[a]) / step) < 1:
                mixed = -np.log(sigma[a] + share * step) - prices[a] - share * gain
                best = min(best, float(mixed))
    return best


def certified_gap_reference(problem: Problem, labels: np.ndarray, objective: str) -> float:
    """`certified_gap` in plain NumPy, O(M K²)."""
    chosen = OBJECTIVES[objective]
    sigma, y = problem.probs.astype(np.float64), labels.astype(np.float64)
    mean = y.mean(axis=0)
    prices = chosen.prices(mean, problem.prior, problem.fairness_weight, problem.prior_slack)
    total = problem.num_points * chosen.correction(mean, problem.prior, problem.fairness_weight)
    for i in np.flatnonzero(problem.known < 0):
        logs = np.log(np.maximum(sigma[i], LOG_FLOOR))
        if chosen.data == "collision":
            value, least = -np.log(max(sigma[i] @ y[i], LOG_FLOOR)), inner_minimum_reference(sigma[i], prices)
        else:
            value, least = -logs @ y[i], float((-logs - prices).min())
        total += value - prices @ y[i] - least
    return max(0.0, total / problem.num_points)
