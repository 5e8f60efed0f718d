"""The paper's EM for (11): E-step (14), M-step (16) in the slack form that divides by no rounded zero.

With prices p_k = λ u_k / ȳ_k the M-step's weights are a_ik = λ M u_k S_ik = p_k y_ik (the factor M belongs to
the λ of (11)), so one iteration is: prices from the cluster means, one independent problem a row, new means.
A row solves h(d) = Σ_k a_k / ((1+A)(1-r_k) + r_k d) = 1 with r_k = σ_k/σ_max and A = Σ a_k; the terms of the
sum are its new y_k.
"""

from typing import ClassVar, final

import numpy as np

from cce_ray.pseudo_labels.em_rows import EMRows, Rows
from cce_ray.pseudo_labels.mappers import BlockKernel, Mapper
from cce_ray.pseudo_labels.objectives import reverse_prices
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, Problem, group_blocks


@final
class EM:
    """EM at work on one problem; each `advance` is one E-step and one M-step, in place.

    Args:
        problem: what to solve.
        labels: the start y, (M, K), of σ's dtype; changed in place.
        mapper: who works on which blocks.
        objective: "cce_plus".
        kernel: see `EMRows`.
    """

    objectives: ClassVar[tuple[str, ...]] = ("cce_plus",)
    double: ClassVar[bool] = False
    gap: ClassVar[None] = None
    prices: ClassVar[None] = None

    def __init__(
        self,
        problem: Problem,
        labels: np.ndarray,
        mapper: Mapper,
        objective: str = "cce_plus",
        kernel: BlockKernel | None = None,
    ) -> None:
        assert objective in self.objectives
        group = group_blocks(problem.num_points)
        weight = problem.fairness_weight
        self._rows = EMRows(problem.probs, labels, problem.known, weight, group, mapper, kernel)
        self._means = Means(self._rows, problem.num_points, problem.prior, weight, problem.prior_slack)
        self.sums = self._means.sums
        """Σ_i y_i, (K,); who changes the labels from outside sets it."""

    def advance(self) -> float:
        """One EM iteration; returns max |Δy|."""
        return self._means.advance(self._rows)


@final
class Means:
    """The K-vector half of EM: from the sums of y over all points to prices, and back through the rows."""

    def __init__(
        self, rows: Rows, num_points: int, prior: np.ndarray, fairness_weight: float, prior_slack: float
    ) -> None:
        from cce_ray.pseudo_labels import blocks_kernel

        self._num_points, self._terms = num_points, (prior, fairness_weight, prior_slack)
        self._sum_blocks = blocks_kernel.sum_blocks
        self.sums = np.zeros(len(prior))
        for group in rows.sums():  # in order
            self.sums += group

    def advance(self, rows: Rows) -> float:
        """One iteration of all rows; returns max |Δy|."""
        prices = reverse_prices(self.sums / self._num_points, *self._terms)
        return float(self._sum_blocks(rows.advance(prices), self.sums))


def em_blocks_reference(
    share: int,
    first_block: int,
    last_block: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    known: np.ndarray,
    prices: np.ndarray,
    scratch: np.ndarray,
    limits: np.ndarray,
    tiny: float,
    partials: np.ndarray,
) -> None:
    """`em_kernel.em_blocks` in plain NumPy: the same arguments, no scratch, no warm start."""
    for b in range(first_block, last_block):
        rows = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        old = labels[rows].astype(np.float64)
        new = m_step_reference(probs[rows].astype(np.float64), prices * old, tiny)
        new = np.where((known[rows] >= 0)[:, None], old, new)
        labels[rows] = new
        partials[b, :-1] = labels[rows].sum(axis=0, dtype=np.float64)
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
