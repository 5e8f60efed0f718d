"""The paper's EM for (11): E-step (14), M-step (16) in the slack form that divides by no rounded zero.

With prices p_k = λ u_k / ȳ_k the M-step's weights are a_ik = λ M u_k S_ik = p_k y_ik (the factor M belongs to
the λ of (11)), so one iteration is: prices from the cluster means, one independent problem a row, new means.
A row solves h(d) = Σ_k a_k / ((1+A)(1-r_k) + r_k d) = 1 with r_k = σ_k/σ_max and A = Σ a_k; the terms of the
sum are its new y_k.
"""

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from cce_ray.pseudo_labels.mappers import BlockKernel, Mapper
from cce_ray.pseudo_labels.objectives import reverse_prices
from cce_ray.pseudo_labels.problem import Problem, group_blocks
from cce_ray.pseudo_labels.solvers.abilities import Ability, Place
from cce_ray.pseudo_labels.solvers.em_rows import EMRows, Rows

OBJECTIVE = "cce_plus"
"""The objective of EM, wherever it runs."""


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

    abilities: ClassVar[Mapping[Place, Ability]] = {
        "host": Ability((OBJECTIVE,)),
        "device": Ability((OBJECTIVE,), prior_slack=False, gap_tolerance=False),
        "spread": Ability((OBJECTIVE,), known_labels=False),
    }
    double: ClassVar[bool] = False
    gap: ClassVar[None] = None
    prices: ClassVar[None] = None

    def __init__(
        self,
        problem: Problem,
        labels: np.ndarray,
        mapper: Mapper,
        objective: str = OBJECTIVE,
        kernel: BlockKernel | None = None,
    ) -> None:
        assert objective == OBJECTIVE
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
        from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel

        self._num_points, self._terms = num_points, (prior, fairness_weight, prior_slack)
        self._sum_blocks = blocks_kernel.sum_blocks
        self.sums = np.zeros(len(prior))
        for group in rows.sums():  # in order
            self.sums += group

    def advance(self, rows: Rows) -> float:
        """One iteration of all rows; returns max |Δy|."""
        prices = reverse_prices(self.sums / self._num_points, *self._terms)
        return float(self._sum_blocks(rows.advance(prices), self.sums))
