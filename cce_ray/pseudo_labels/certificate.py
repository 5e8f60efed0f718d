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

from typing import Protocol

import numpy as np

from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import Problem, group_rows, num_groups


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
    rows = _Whole(problem, labels, OBJECTIVES[objective].data)
    terms = (problem.prior, problem.fairness_weight, problem.prior_slack)
    return gap_of_groups(rows, problem.num_points, terms, objective, prices)


class GroupedRows(Protocol):
    """The rows of a problem and their labels, wherever they are, summed in groups, which come in order."""

    def sums(self) -> np.ndarray:
        """Σ_i y_i of each group at the present labels, (groups, K), float64."""

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """Σ_i of the certificate's terms of each group at prices (K,) and the present labels, (groups,)."""


def gap_of_groups(
    rows: GroupedRows,
    num_points: int,
    terms: tuple[np.ndarray, float, float],
    objective: str,
    prices: np.ndarray | None = None,
) -> float:
    """`certified_gap` of rows that may be anywhere, whose bits do not depend on where they are.

    Args:
        rows: asked for sums once, for gaps at most twice.
        num_points: M of the whole problem.
        terms: u, λ and ε.
        objective, prices: as there.
    """
    chosen, (prior, weight, slack) = OBJECTIVES[objective], terms
    mean = _in_order(rows.sums()) / num_points
    if not np.isfinite(chosen.fairness(mean, *terms)):
        return float("inf")
    implied = float(_in_order(rows.gaps(chosen.prices(mean, *terms)))) / num_points
    gap = implied + chosen.correction(mean, prior, weight)
    if prices is not None and slack == 0:
        own = float(_in_order(rows.gaps(prices))) / num_points
        gap = min(gap, own + chosen.excess(mean, prices, prior, weight))
    return max(0.0, gap)


def _in_order(groups: np.ndarray) -> np.ndarray:
    """The groups' sum, one after the other (NumPy's own sum takes an order that it likes)."""
    total: np.ndarray = np.add.accumulate(groups)[-1]
    return total


class _Whole:
    """`GroupedRows` of a problem in this process."""

    def __init__(self, problem: Problem, labels: np.ndarray, data: str) -> None:
        self._problem, self._labels, self._data = problem, labels, data
        self._groups, self._rows = num_groups(problem.num_points), group_rows(problem.num_points)

    def sums(self) -> np.ndarray:
        from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel

        sums = np.empty((self._groups, self._labels.shape[1]))
        blocks_kernel.label_groups(self._labels, self._rows, sums)
        return sums

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        from cce_ray.pseudo_labels.kernels import certificate as certificate_kernel

        collision = self._data == "collision"
        kernel = certificate_kernel.collision_gaps if collision else certificate_kernel.shannon_gaps
        gaps = np.empty(self._groups)
        kernel(self._problem.probs, self._labels, self._problem.known, prices, self._rows, gaps)
        return gaps
