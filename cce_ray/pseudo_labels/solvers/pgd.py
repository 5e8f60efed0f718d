"""Projected gradient descent for (10) and (11): spectral steps, a line search, a fast simplex projection.

The gradient of M times the objective in row i is -σ_i/(σ_iᵀy_i) - p with the objective's prices p, so a trial
step again is independent work on rows given a K-vector. The step length is Barzilai and Borwein's; a trial is
taken when it lies sufficiently below the worst of the last few values (Birgin, Martínez and Raydan's SPG),
which such steps need to be fast.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar, final

import numpy as np

from cce_ray.pseudo_labels.mappers import BlockKernel, Mapper, bind
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import START_FLOOR, Problem
from cce_ray.pseudo_labels.solvers.abilities import Ability, Place

_SUFFICIENT = 1e-4  # Armijo's constant
_SHRINK = 0.25
_MAX_TRIALS = 60
_HISTORY = 10
_STEP_RANGE = (1e-12, 1e12)


@final
class PGD:
    """Projected gradient descent at work on one problem; each `advance` is one accepted step.

    Args:
        problem: what to solve.
        labels: the start y, (M, K), float64; changed in place.
        mapper: who works on which blocks.
        objective: "cce_plus" (11) or "cce" (10).
        kernel: `kernels.pgd.pgd_blocks` (the default) or its NumPy twin `pgd_blocks_reference`.
    """

    abilities: ClassVar[Mapping[Place, Ability]] = {"host": Ability(("cce_plus", "cce"))}
    # Spectral steps magnify rounding: labels kept in float32 would part from those in float64 within a few
    # dozen steps.
    double: ClassVar[bool] = True
    gap: ClassVar[None] = None
    prices: ClassVar[None] = None

    def __init__(
        self,
        problem: Problem,
        labels: np.ndarray,
        mapper: Mapper,
        objective: str,
        kernel: BlockKernel | None = None,
    ) -> None:
        from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel
        from cce_ray.pseudo_labels.kernels import pgd as pgd_kernel

        self._problem, self._mapper, self._objective = problem, mapper, OBJECTIVES[objective]
        self._sum_blocks = blocks_kernel.sum_blocks
        blocks, clusters = problem.num_blocks, problem.num_clusters
        self._labels, self._trial = labels, np.empty_like(labels)
        self._partials = np.empty((blocks, clusters + pgd_kernel.EXTRA_COLUMNS))
        self._totals = np.empty(clusters + pgd_kernel.EXTRA_COLUMNS - 1)
        self._sums, self._prices, self._step = np.empty(clusters), np.empty(clusters), np.empty(1)
        rows = pgd_kernel.Rows(problem.probs, labels, self._trial, problem.known)
        self._work = bind(
            pgd_kernel.pgd_blocks if kernel is None else kernel,
            tuple(rows),  # a plain one: see `kernels.jit`
            self._prices,
            self._step,
            np.empty((mapper.shares, clusters)),
            self._partials,
        )
        self._start(blocks_kernel.label_sums, blocks_kernel.collision_sum)

    def _start(self, label_sums: Callable[..., None], collision_sum: Callable[..., float]) -> None:
        problem = self._problem
        label_sums(self._labels, self._partials, self._sums)
        if self._fairness(self._sums) == np.inf:  # no gradient there: lift the free rows off the boundary
            free = problem.known < 0
            lifted = np.maximum(self._labels[free], START_FLOOR)
            self._labels[free] = lifted / lifted.sum(axis=1, keepdims=True)
            label_sums(self._labels, self._partials, self._sums)
        self._prices[:] = self._prices_at(self._sums)
        value = collision_sum(problem.probs, self._labels) / problem.num_points + self._fairness(self._sums)
        self._values = deque([value], maxlen=_HISTORY)
        self._step[0] = 1.0 / (1.0 + problem.fairness_weight * problem.num_clusters)
        # Labels are stored with rounding errors; relative changes of the value below this are noise.
        self._relative_noise = float(np.finfo(self._labels.dtype).eps)

    def advance(self) -> float:
        """One accepted step; returns max |Δy|, 0 where no step descends by more than rounding."""
        points, clusters = self._problem.num_points, self._problem.num_clusters
        highest = max(self._values)
        noise = self._relative_noise * (1.0 + self._problem.fairness_weight + abs(highest))
        for _ in range(_MAX_TRIALS):
            self._mapper(self._work, self._problem.num_blocks)
            change = float(self._sum_blocks(self._partials, self._totals))
            move = self._totals[:clusters] - self._sums
            collision, turn_old, turn_new, squares = self._totals[clusters:]
            value = collision / points + self._fairness(self._totals[:clusters])
            descent = -turn_old - self._prices @ move
            if value <= highest + _SUFFICIENT * min(descent / points, 0.0) + noise:
                self._take(value, squares, descent, turn_new, move)
                return change
            self._step[0] *= _SHRINK
        return 0.0

    def _take(self, value: float, squares: float, descent: float, turn_new: float, move: np.ndarray) -> None:
        """Accept the trial and choose the next step: ‖Δy‖² / (Δyᵀ Δgradient)."""
        np.copyto(self._labels, self._trial)
        self._sums[:] = self._totals[: self._problem.num_clusters]
        self._prices[:] = self._prices_at(self._sums)
        self._values.append(value)
        curvature = -turn_new - self._prices @ move - descent
        step = squares / curvature if curvature > 0 and squares > 0 else 4.0 * self._step[0]
        self._step[0] = min(max(step, _STEP_RANGE[0]), _STEP_RANGE[1])

    def _prices_at(self, sums: np.ndarray) -> np.ndarray:
        problem = self._problem
        return self._objective.prices(
            sums / problem.num_points, problem.prior, problem.fairness_weight, problem.prior_slack
        )

    def _fairness(self, sums: np.ndarray) -> float:
        problem = self._problem
        return self._objective.fairness(
            sums / problem.num_points, problem.prior, problem.fairness_weight, problem.prior_slack
        )
