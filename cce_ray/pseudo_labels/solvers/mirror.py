"""Mirror descent with an adaptive step for loss (5), mean_i H(y_i, σ_i) + λ KL(ȳ‖u).

The fairness term is 1-smooth relative to λ mean_i KL(y_i‖·) (joint convexity of KL; a minimum over v of such
terms is too, each being above it and touching it at its own v), so the multiplicative
step y_ik ∝ y_ik exp(η (ln σ_ik + p_k)), p_k = -λ ln(ȳ_k/u_k), never raises the loss at η = 1/λ. Usually far
longer steps do not either: η doubles after every step and halves until λ KL(ȳ'‖ȳ) <= mean_i KL(y'_i‖y_i) / η
(Lu, Freund and Nesterov's relative-smoothness test). All steps together are one softmax,
y_i = softmax(ln y⁰_i + T ln σ_i + P), so an iterate is a K-vector P and a number T: nothing underflows and no
rounding accumulates.
"""

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from cce_ray.pseudo_labels.mappers import BlockKernel, Mapper, bind
from cce_ray.pseudo_labels.objectives import forward_prices
from cce_ray.pseudo_labels.problem import LOG_FLOOR, MEAN_FLOOR, Problem
from cce_ray.pseudo_labels.solvers.abilities import Ability, Place

# T beyond this sharpens nothing (the loss is within ~ln K / T of its minimum) and costs digits of P.
_LONGEST_STEP = 1e9


@final
class Mirror:
    """Mirror descent at work on one problem; each `advance` is one accepted step.

    Args:
        problem: what to solve.
        labels: the start y⁰, (M, K), of σ's dtype; changed in place. Its exact zeros stay.
        mapper: who works on which blocks.
        objective: "shannon".
        kernel: `kernels.mirror.mirror_blocks` (the default) or its NumPy twin `mirror_blocks_reference`.
    """

    abilities: ClassVar[Mapping[Place, Ability]] = {"host": Ability(("shannon",))}
    double: ClassVar[bool] = False
    gap: ClassVar[None] = None
    prices: ClassVar[None] = None

    def __init__(
        self,
        problem: Problem,
        labels: np.ndarray,
        mapper: Mapper,
        objective: str = "shannon",
        kernel: BlockKernel | None = None,
    ) -> None:
        from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel
        from cce_ray.pseudo_labels.kernels import mirror as mirror_kernel

        assert objective == "shannon"

        self._problem, self._mapper = problem, mapper
        self._sum_blocks = blocks_kernel.sum_blocks
        points, clusters, blocks = problem.num_points, problem.num_clusters, problem.num_blocks
        self._labels, self._trial = labels, np.empty_like(labels)
        self._normalizers, self._trial_normalizers = np.zeros(points), np.zeros(points)
        self._control = np.empty((2, clusters + 1))
        self._partials = np.empty((blocks, clusters + 2))
        self._totals, self._sums = np.empty(clusters + 1), np.empty(clusters)
        with np.errstate(divide="ignore"):
            start_logs = np.log(labels, dtype=np.float64)
        rows = mirror_kernel.Rows(
            logs=np.log(np.maximum(problem.probs, LOG_FLOOR, dtype=np.float64)),
            start_logs=start_logs,
            labels=labels,
            normalizers=self._normalizers,
            trial=self._trial,
            trial_normalizers=self._trial_normalizers,
            known=problem.known,
        )
        self._work = bind(
            mirror_kernel.mirror_blocks if kernel is None else kernel,
            tuple(rows),  # a plain one: see `kernels.jit`
            self._control,
            np.empty((mapper.shares, clusters)),
            self._partials,
        )
        blocks_kernel.label_sums(labels, self._partials, self._sums)
        self._path = np.zeros(clusters + 1)
        self._step = self._shortest = 1.0 / problem.fairness_weight

    def advance(self) -> float:
        """One accepted step; returns max |Δy|."""
        problem, clusters = self._problem, self._problem.num_clusters
        mean = self._sums / problem.num_points
        prices = forward_prices(mean, problem.prior, problem.fairness_weight, problem.prior_slack)
        while True:
            self._control[1] = self._step * np.append(prices, 1.0)
            self._control[0] = self._path + self._control[1]
            self._mapper(self._work, problem.num_blocks)
            change = float(self._sum_blocks(self._partials, self._totals))
            trial_mean = self._totals[:clusters] / problem.num_points
            spread = self._totals[clusters] / problem.num_points
            if self._step <= self._shortest or self._is_short(trial_mean, mean, spread):
                break
            self._step = max(0.5 * self._step, self._shortest)
        self._path[:] = self._control[0]
        np.copyto(self._labels, self._trial)
        self._normalizers[:] = self._trial_normalizers
        self._sums[:] = self._totals[:clusters]
        self._step = max(min(2.0 * self._step, _LONGEST_STEP), self._shortest)
        return change

    def _is_short(self, trial_mean: np.ndarray, mean: np.ndarray, spread: float) -> bool:
        """λ KL(ȳ'‖ȳ) <= mean_i KL(y'_i‖y_i) / η: the step cannot have raised the loss."""
        floored = np.maximum(mean, MEAN_FLOOR)
        moved = float(np.sum(trial_mean * np.log(np.maximum(trial_mean, MEAN_FLOOR) / floored)))
        return self._problem.fairness_weight * moved <= spread / self._step
