"""How far from the optimum an iterate is, at most: a dual bound from the prices it implies.

For every price vector p, g(p) = mean_i min_y (data(y, σ_i) - pᵀy) + (a term of p alone) is a lower bound of
the objective. At the prices of the iterate's own means ȳ the fairness terms cancel (but for floored shares):

    objective - g(p) = mean_i [ (data(y_i, σ_i) - pᵀy_i) - min_y (data(y, σ_i) - pᵀy) ],

a mean of terms that are each >= 0. For H₂ the inner minimum equals max_{t>0} 1 + ln t - max_k (σ_k t + p_k):
a search that stops early at any t still gives a lower bound, so nothing has to be subtracted for it.

With a slack the prior is a variable too: the term of p alone is a minimum over ȳ and over the shares v of the
box u (1 ± ε) with sum one. Over ȳ it has a closed form, which leaves (the better-known case is v = u)
    (11): λ min_v Σ v_k ln(p_k/λ) + λ - λ Σ u_k ln u_k,    (10), (5): -λ ln max_v Σ v_k e^(-p_k/λ),
each a fractional knapsack in v. With v = clip(c ȳ, low, high) and p_k = λ v_k/ȳ_k the costs are ln(v_k/ȳ_k):
ln c where v_k lies inside its limits, more where it is raised to the lower and less where it is cut to the
upper. So v itself fills the knapsack in the order of the costs, is its optimum, and the fairness terms cancel
as before. For (10) and (5) the gains e^(-p_k/λ) = ȳ_k/v_k are 1/c inside, less at the lower and more at the
upper limit: the same v again.
"""

from collections.abc import Callable

import numpy as np

from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import LOG_FLOOR, Problem


def certified_gap(
    problem: Problem, labels: np.ndarray, objective: str, prices: np.ndarray | None = None
) -> float:
    """An upper bound on objective(labels) minus its minimum over all y that agree with the known labels.

    Args:
        problem: the problem that `labels` belong to.
        labels: y, (M, K).
        objective: "cce_plus" (11), "cce" (10) or "shannon" (5).
        prices: a solver's own p, (K,), which is tried beside the one that `labels` imply.

    Returns:
        The gap, >= 0; infinite where the objective is.
    """
    from cce_ray.pseudo_labels import certificate_kernel

    chosen = OBJECTIVES[objective]
    mean = labels.mean(axis=0, dtype=np.float64)
    fairness = (mean, problem.prior, problem.fairness_weight, problem.prior_slack)
    if not np.isfinite(chosen.fairness(*fairness)):
        return float("inf")
    kernel = (
        certificate_kernel.collision_gaps if chosen.data == "collision" else certificate_kernel.shannon_gaps
    )

    def rows(point: np.ndarray) -> float:
        return float(kernel(problem.probs, labels, problem.known, point)) / problem.num_points

    gap = rows(chosen.prices(*fairness)) + chosen.correction(mean, problem.prior, problem.fairness_weight)
    if prices is not None and problem.prior_slack == 0:
        excess = chosen.excess(mean, prices, problem.prior, problem.fairness_weight)
        gap = min(gap, rows(prices) + excess)
    return max(0.0, gap)


def gap_of_sums(
    sums: np.ndarray,
    num_points: int,
    prior: np.ndarray,
    fairness_weight: float,
    prior_slack: float,
    gaps: Callable[[np.ndarray], np.ndarray],
) -> float:
    """`certified_gap` for (11) of labels of which only the sums are at hand.

    Args:
        sums: Σ_i y_i, (K,).
        gaps: prices (K,) -> the rows' terms of the bound, summed in groups, (groups,).
    """
    chosen, mean = OBJECTIVES["cce_plus"], sums / num_points
    fairness = (mean, prior, fairness_weight, prior_slack)
    if not np.isfinite(chosen.fairness(*fairness)):
        return float("inf")
    total = sum(gaps(chosen.prices(*fairness)).tolist())  # in order
    return max(0.0, total / num_points + chosen.correction(mean, prior, fairness_weight))


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
