"""The optimum of (11) or (10) by a primal-dual interior point method (Mehrotra's predictor and corrector).

The optimality conditions of y >= 0 with multipliers z, of the rows' sums with ν, of x_i = σ_iᵀy_i with t and
of the means,

    -σ_i t_i - p + ν_i - z_i = 0,  1ᵀy_i = 1,  t_i x_i = 1,  y_ik z_ik = μ -> 0,  p_k ȳ_k = λ u_k  (11),
                                                                            p_k = -λ ln(ȳ_k/u_k)   (10),

couple the rows by the K prices p alone. All equations of (11) are linear but for products of a primal and a
dual number, as in a linear program: y may go another length than z, t, ν and p without losing feasibility,
which σ_i/x_i in the place of t_i would not allow. Newton's method eliminates every row in closed form (a
diagonal plus two outer products, `kernels.exact`), which leaves a positive definite K×K system for the change
of the prices: (mean_i N_i + curvature) dp = ..., with dȳ = mean_i N_i dp + ... . Five to twenty iterations
reach a gap of 1e-10 whatever λ and however many rows are soft, where EM needs thousands. One costs O(M K²)
for the system, by BLAS, and O(M K) for the rest; the memory is four float64 arrays of y's shape.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, ClassVar, final

import numpy as np

from cce_ray.pseudo_labels.mappers import BlockKernel, Mapper, bind
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, MEAN_FLOOR, Problem
from cce_ray.pseudo_labels.solvers.abilities import Ability, Place

_Kernels = tuple[BlockKernel, BlockKernel, BlockKernel]

# The rows' outer products are added up in chunks of at least so many rows, and of at most so many chunks,
# whose order no number of threads can change.
_CHUNK_ROWS, _MOST_CHUNKS = 128, 16
# How much of the uniform distribution the start is mixed with: it must be well inside the simplex.
_MIXED = 0.5
_START_SLACK = 0.5
# A step goes so far of the way to the boundary, and by the second so much more where the affine step, which
# aims at the solution itself, goes all the way.
_BOUNDARY, _BOLDER = 0.9, 0.0999
# Gaps below this, relative to 1 + λ, are not aimed at: w = y/z would magnify rounding beyond all bounds.
_FINEST = 1e-13
_LIFTS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-4, 1.0)
_STALLED = 8  # iterations without a better gap: the arithmetic allows none


@final
class Exact:
    """The interior point method at work on one problem; each `advance` is one iteration.

    Args:
        problem: what to solve.
        labels: the start y, (M, K), float64; changed in place.
        mapper: who works on which blocks. BLAS gets no threads of its own: on cores that are busy, its
            threads wait for each other twenty times longer than they work.
        objective: "cce_plus" (11) or "cce" (10).
        kernels: `kernels.exact.assemble_rows`, `.predict_rows` and `.correct_rows` (the default) or their
            NumPy twins of `reference.exact`.
    """

    abilities: ClassVar[Mapping[Place, Ability]] = {"host": Ability(("cce_plus", "cce"), prior_slack=False)}
    double: ClassVar[bool] = True

    def __init__(
        self,
        problem: Problem,
        labels: np.ndarray,
        mapper: Mapper,
        objective: str,
        kernels: _Kernels | None = None,
    ) -> None:
        from cce_ray.pseudo_labels.kernels import exact as exact_kernel

        assert problem.prior_slack == 0
        self._problem, self._labels, self._mapper = problem, labels, mapper
        self._reverse = objective == "cce_plus"
        points, clusters, blocks = problem.num_points, problem.num_clusters, problem.num_blocks
        self._chunk = max(_CHUNK_ROWS // BLOCK_ROWS, -(-blocks // _MOST_CHUNKS))
        self._chunks = -(-blocks // self._chunk)
        self._parts = np.empty((self._chunks, clusters, clusters))
        slacks, moves, turns = np.empty((3, points, clusters))
        numbers = np.zeros((points, exact_kernel.ROW_NUMBERS))
        self._rows = exact_kernel.Rows(problem.probs, problem.known, labels, slacks, moves, turns, numbers)
        prices, affine, direction = np.empty((3, clusters))
        self._step = exact_kernel.Step(prices, affine, direction, np.empty(1), np.empty(2))
        weights, values = np.empty((2, mapper.shares, clusters))
        scratch = exact_kernel.Scratch(weights, values)
        self._assembled = exact_kernel.System(
            np.empty((mapper.shares, 2 * min(self._chunk * BLOCK_ROWS, points), clusters)),
            np.empty((blocks, exact_kernel.ASSEMBLE_VECTORS, clusters)),
            np.empty((blocks, exact_kernel.ASSEMBLE_SUMS)),
        )
        self._predicted = exact_kernel.Prediction(
            np.empty((blocks, exact_kernel.PREDICT_VECTORS, clusters)),
            np.empty((blocks, exact_kernel.PREDICT_SUMS)),
            np.empty((blocks, 2)),
        )
        self._extremes = np.empty((blocks, 3))
        own: _Kernels = exact_kernel.assemble_rows, exact_kernel.predict_rows, exact_kernel.correct_rows
        assemble, predict, correct = kernels or own
        # Plain tuples: see `kernels.jit`.
        inputs = (tuple(self._rows), tuple(self._step), tuple(scratch))
        self._assemble_rows = bind(assemble, *inputs, tuple(self._assembled))
        self._predict_rows = bind(predict, *inputs, tuple(self._predicted))
        self._correct_rows = bind(correct, *inputs, self._extremes)
        with _one_blas_thread():
            self._start()

    def _start(self) -> None:
        """y inside the simplex, the prices of its means, t = 1/x and z = ν - σ t - p > 0."""
        from cce_ray.pseudo_labels.kernels.exact import HIT_PRICE, NU

        problem = self._problem
        free = problem.known < 0
        self._count = max(1, int(free.sum()))
        self._finest = _FINEST * (1.0 + problem.fairness_weight) / problem.num_clusters
        self._labels[free] += _MIXED * (1.0 / problem.num_clusters - self._labels[free])
        self.prices = self._implied(self._labels.mean(axis=0))
        # Rows do not feel a shift of all prices; around λ the prices of (11) would lose their differences.
        shift = problem.fairness_weight if self._reverse else 0.0
        rows, prices = self._rows, self._step.prices
        np.subtract(self.prices, shift, out=prices)
        hits = np.einsum("ik,ik->i", problem.probs, self._labels, dtype=np.float64)
        rows.numbers[:, HIT_PRICE] = 1.0 / np.maximum(hits, MEAN_FLOOR)
        np.multiply(problem.probs, rows.numbers[:, HIT_PRICE, None], out=rows.slacks)
        rows.slacks[:] += prices
        nu = rows.slacks.max(axis=1) + _START_SLACK
        np.subtract(nu[:, None], rows.slacks, out=rows.slacks)
        rows.numbers[:, NU] = nu
        rows.moves.fill(0.0)
        rows.turns.fill(0.0)
        self._step.lengths.fill(0.0)
        self._assemble()
        self._best, self._stalled = self.gap, 0

    def _implied(self, mean: np.ndarray) -> np.ndarray:
        """The prices that belong to these means."""
        problem = self._problem
        floored = np.maximum(mean, MEAN_FLOOR)
        if self._reverse:
            prices: np.ndarray = problem.fairness_weight * problem.prior / floored
            return prices
        return np.asarray(-problem.fairness_weight * np.log(floored / problem.prior))

    def advance(self) -> float:
        """One iteration; returns max |Δy|, 0 where rounding allows no better."""
        if self._stalled >= _STALLED or self._centre <= 2.0 * self._finest:
            return 0.0
        with _one_blas_thread():
            return self._advance()

    def _advance(self) -> float:
        problem = self._problem
        self._curvature = self._curve(self._mean)
        factor = self._factorized()
        step, predicted = self._step, self._predicted
        step.affine[:] = self._solve(factor, self._response, np.zeros(problem.num_clusters))
        self._mapper(self._predict_rows, problem.num_blocks)
        moves, turned, centred = predicted.vectors.sum(axis=0) / problem.num_points
        low, high = predicted.extremes.max(axis=0)
        step.centring[0] = self._centring(step.affine, low, high, *predicted.sums.sum(axis=0))
        response = self._response + turned + step.centring[0] * centred
        step.moves[:] = self._solve(factor, response, step.affine * moves)
        self._mapper(self._correct_rows, problem.num_blocks)
        low, high, largest = self._extremes.max(axis=0)
        high = max(high, self._fall(step.moves))
        step.lengths[:] = self._boundary / np.maximum([low, high], self._boundary)
        self.prices += step.lengths[1] * step.moves
        step.prices[:] += step.lengths[1] * step.moves
        self._assemble()
        self._stalled = 0 if self.gap < 0.9 * self._best else self._stalled + 1
        self._best = min(self._best, self.gap)
        return float(step.lengths[0] * largest)

    def _assemble(self) -> None:
        """Take the step; the K×K system, the predictor's right side and the gap at the new point."""
        problem, clusters, assembled = self._problem, self._problem.num_clusters, self._assembled

        def assemble_chunks(share: int, first: int, last: int) -> None:
            for chunk in range(first, last):
                block, end = chunk * self._chunk, min((chunk + 1) * self._chunk, problem.num_blocks)
                self._assemble_rows(share, block, end)
                rows = min(end * BLOCK_ROWS, problem.num_points) - block * BLOCK_ROWS
                factors = assembled.factors[share, : 2 * rows]
                np.matmul(factors.T, factors, out=self._parts[chunk])

        self._mapper(assemble_chunks, self._chunks)
        self._mean, self._response = assembled.vectors.sum(axis=0) / problem.num_points
        collision, dual, products = assembled.sums.sum(axis=0) / problem.num_points
        self._centre = float(products) * problem.num_points / (self._count * clusters)
        self.gap = self._gap(float(collision - dual))

    def _system(self) -> np.ndarray:
        """mean_i N_i + curvature: N_i 1 = 0 gives the diagonal without the cancellation of W - ..."""
        system: np.ndarray = self._parts.sum(axis=0) / -self._problem.num_points
        diagonal = np.diag_indices(len(system))
        system[diagonal] = 0.0
        system[diagonal] = self._curvature - system.sum(axis=1)
        return system

    def _curve(self, mean: np.ndarray) -> np.ndarray:
        """-dȳ/dp of the coupling of means and prices."""
        if not self._reverse:
            return mean / self._problem.fairness_weight
        priced = self.prices > 0  # a class that nobody wants has no price, now and ever
        return np.where(priced, mean / np.where(priced, self.prices, 1.0), 1e100)

    def _solve(self, factor: np.ndarray, response: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """dp of the K×K system, where dp = 0 moves the means by `response`."""
        from scipy.linalg import lapack

        problem, prices = self._problem, self.prices
        if not self._reverse:
            missing = -self._curvature * (prices - self._implied(self._mean)) - response
            return np.asarray(lapack.dpotrs(factor, missing)[0])
        priced = prices > 0
        missing = problem.fairness_weight * problem.prior - prices * self._mean - turn
        missing = np.where(priced, missing / np.where(priced, prices, 1.0) - response, 0.0)
        return np.where(priced, lapack.dpotrs(factor, missing)[0], 0.0)

    def _fall(self, move: np.ndarray) -> float:
        """The largest -dp/p: prices of (11) stay positive."""
        if not self._reverse:
            return 0.0
        return float(np.max(-move / np.where(self.prices > 0, self.prices, np.inf)))

    def _centring(self, affine: np.ndarray, low: float, high: float, first: float, second: float) -> float:
        """Mehrotra's rule: μ (μ_affine / μ)³ with μ_affine after the longest affine step."""
        entries = self._count * self._problem.num_clusters
        primal = 1.0 / max(1.0, low)
        dual = 1.0 / max(1.0, 1.0 + high, self._fall(affine))
        self._boundary = _BOUNDARY + _BOLDER * min(primal, dual)
        # Σ (y + primal y f) (z - dual z (1 + f))
        products = self._centre * entries
        after = products + primal * first - dual * (products + first) - primal * dual * (first + second)
        return max(float(self._centre * (max(after, 0.0) / max(products, MEAN_FLOOR)) ** 3), self._finest)

    def _gap(self, rows: float) -> float:
        """The value minus the dual bound at the present prices; `rows` is mean (-ln x - the row's bound)."""
        problem, mean = self._problem, np.maximum(self._mean, MEAN_FLOOR)
        if self._reverse:
            wanted = problem.prior > 0
            ratio = self.prices[wanted] * mean[wanted] / (problem.fairness_weight * problem.prior[wanted])
            return rows - problem.fairness_weight * float(problem.prior[wanted] @ np.log(ratio))
        value = mean @ np.log(mean / problem.prior)
        exponents = -self.prices / problem.fairness_weight
        peak = exponents.max()
        bound = peak + np.log(problem.prior @ np.exp(exponents - peak))
        return rows + problem.fairness_weight * float(value + bound)

    def _factorized(self) -> np.ndarray:
        """The Cholesky factor of the system, its diagonal raised where rounding made it indefinite."""
        from scipy.linalg import lapack

        system = self._system()
        for lift in _LIFTS:
            raised = system + np.diag(lift * system.diagonal())
            factor, info = lapack.dpotrf(raised.T, overwrite_a=1)
            if info == 0:
                return np.asarray(factor)
        raise AssertionError("a diagonally dominant system is positive definite")


def _one_blas_thread() -> AbstractContextManager[object]:
    return _blas_threads().limit(limits=1)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _blas_threads() -> Any:
    from scipy.linalg import lapack  # noqa: F401  (its BLAS is to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
