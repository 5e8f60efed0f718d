"""`estimate_pseudo_labels`: the one public way in. Checks, chooses the solver, runs it, reports."""

import math
from dataclasses import replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from cce_ray.pseudo_labels.arrays import to_array, to_floating
from cce_ray.pseudo_labels.certificate import certified_gap
from cce_ray.pseudo_labels.choice import choose_backend, choose_solver
from cce_ray.pseudo_labels.driver import Limits, Solver, iterate
from cce_ray.pseudo_labels.mappers import choose_mapper
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import START_FLOOR, Problem
from cce_ray.pseudo_labels.result import PseudoLabels

# How far a row may be from summing to one: softmax in single and in half precision.
_SUM_TOLERANCE = 1e-3
_SUM_TOLERANCE_HALF = 2e-2
# Where a solver that goes for the optimum stops if no gap is asked for, relative to 1 + λ.
_EXACT_GAP = 1e-10


def estimate_pseudo_labels(
    probs: Any,
    *,
    fairness_weight: float,
    objective: str = "cce_plus",
    prior: Any = None,
    prior_slack: float = 0.0,
    solver: str = "auto",
    max_iterations: int = 100,
    tolerance: float = 1e-4,
    gap_tolerance: float | None = None,
    known_labels: Any = None,
    init: Any = None,
    backend: str = "auto",
) -> PseudoLabels:
    """Estimate soft pseudo-labels y for predictions σ.

    Args:
        probs: σ, (M, K), floating; NumPy array or torch tensor on any device; rows are probabilities. Half
            precision is computed, and returned, in float32. Never changed.
        fairness_weight: λ > 0 of the objective, whose first term is a mean over the points.
        objective: "cce_plus" (11), "cce" (10) or "shannon" (loss (5) with weight λ).
        prior: u, (K,), sums to one; uniform if None. Zeros are fine for "cce_plus" only.
        prior_slack: ε >= 0: a cluster's share may be anywhere within u_k (1 ± ε), not below 0, without cost:
            the fairness term becomes its minimum over such shares v with sum one.
        solver: "em" and "em_accelerated" (11), "exact" and "pgd" (10) and (11), "mirror" (5), or "auto":
            "em", "pgd" or "mirror" without a `gap_tolerance`, with one the solver expected to reach it first.
        max_iterations: iteration limit, >= 0.
        tolerance: stop when max |Δy| of an iteration is at most this ("exact" does not look at it).
        gap_tolerance: stop when the objective is certified to be within this (absolute) of its minimum; None:
            never, and for "exact" 1e-10 (1 + λ).
        known_labels: (M,), int64: the class of a known row, whose y stays one-hot; -1 where unknown.
        init: the start y, (M, K); its exact zeros are kept by EM (Property 1) and mirror descent; "exact"
            starts half-way between it and the uniform distribution. By default σ, lifted to 1e-8 where
            softmax underflowed, so that every class can grow.
        backend: "inline", "threads" (neither changes a bit of the labels), "gpu" (EM where the tensor is, in
            its own precision, without `gap_tolerance` and `prior_slack`), or "auto": "gpu" for tensors on one
            if that can do it, else on the host, by threads for large M·K.

    Returns:
        PseudoLabels: labels of the same kind and device as `probs`, objective, gap (computed on first
        access), iterations and the reason for stopping.

    Raises:
        ValueError: an argument is unusable; one line says which, its value and the remedy.
    """
    limits = _check_limits(max_iterations, tolerance, gap_tolerance)
    if choose_backend(backend, probs, objective, solver, gap_tolerance, prior_slack) == "gpu":
        return estimate_on_device(probs, fairness_weight, prior, limits, known_labels, init)
    array, restore = to_array(probs, "probs")
    problem = _check_problem(array, fairness_weight, objective, prior, prior_slack, known_labels)
    solver_type = _choose_solver(solver, problem, objective, gap_tolerance)

    labels = _start(problem, init, solver_type.double, half=array.dtype.itemsize < 4 or _is_half(probs))
    mapper = choose_mapper(backend, labels.size)
    worker = solver_type(problem, labels, mapper, objective)

    def certify() -> float:
        return certified_gap(problem, labels, objective, worker.prices)

    if worker.gap is not None and limits.gap_tolerance is None:
        limits = replace(limits, gap_tolerance=_EXACT_GAP * (1.0 + problem.fairness_weight))
    iterations, change, reason = iterate(worker, limits, certify)
    if solver_type.double:
        labels /= labels.sum(axis=1, keepdims=True)
    labels = labels.astype(problem.probs.dtype, copy=False)  # certify and the value are of what is returned
    return PseudoLabels(
        restore(labels),
        lambda: _value(problem, labels, objective),
        certify,
        (iterations, change),
        lambda: reason,
    )


def estimate_on_device(
    probs: Any, fairness_weight: float, prior: Any, limits: Limits, known_labels: Any, init: Any
) -> PseudoLabels:
    """EM on the device of `probs`, a tensor. The host waits for it once, to look at the values of σ; the
    objective and the gap are computed on the host, if they are asked for."""
    import torch

    from cce_ray.pseudo_labels.device_em import check_on_device, em_on_device

    probs = probs.detach()
    _check_shape(tuple(probs.shape))
    _check_weight(fairness_weight)
    check_on_device(probs)
    shares = _check_prior(prior, probs.shape[1], "cce_plus")
    known = _check_known(known_labels, *probs.shape)
    found = em_on_device(
        probs,
        None if prior is None else torch.from_numpy(shares).to(probs.device),
        float(fairness_weight),
        max_iterations=limits.max_iterations,
        tolerance=limits.tolerance,
        known=None if known_labels is None else torch.from_numpy(known).to(probs.device),
        init=None if init is None else torch.as_tensor(init, device=probs.device),
    )

    @lru_cache(maxsize=1)
    def host() -> tuple[Problem, np.ndarray]:
        array = to_floating(to_array(probs, "probs")[0], "probs")
        return Problem(array, shares, float(fairness_weight), known), to_array(found.labels, "labels")[0]

    return PseudoLabels(
        found.labels,
        lambda: _value(*host(), "cce_plus"),
        lambda: certified_gap(*host(), "cce_plus"),
        (found.iterations, found.change),
        lambda: "tolerance" if float(found.change) <= limits.tolerance else "max_iterations",
    )


def _check_limits(max_iterations: int, tolerance: float, gap_tolerance: float | None) -> Limits:
    if not isinstance(max_iterations, int | np.integer) or max_iterations < 0:
        raise ValueError(
            f"max_iterations: {max_iterations!r} is not an integer >= 0; give a limit such as 100"
        )
    if not (_is_number(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance: {tolerance!r} is not >= 0; give max |Δy| to stop at, such as 1e-4")
    if gap_tolerance is not None and not (_is_number(gap_tolerance) and gap_tolerance >= 0):
        raise ValueError(f"gap_tolerance: {gap_tolerance!r} is not >= 0; give a gap such as 1e-3, or None")
    return Limits(int(max_iterations), float(tolerance), gap_tolerance)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_problem(
    array: np.ndarray,
    fairness_weight: float,
    objective: str,
    prior: Any,
    prior_slack: float,
    known_labels: Any,
) -> Problem:
    """Everything but the rows' values, which `_start` looks at."""
    _check_shape(array.shape)
    _check_weight(fairness_weight)
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: {objective!r} is unknown; choose one of {', '.join(OBJECTIVES)}")
    if not (_is_number(prior_slack) and 0 <= prior_slack < math.inf):
        raise ValueError(
            f"prior_slack: {prior_slack!r} is not a number >= 0; give how far shares may miss the prior, "
            "such as 0.5, or 0"
        )
    return Problem(
        to_floating(array, "probs"),
        _check_prior(prior, array.shape[1], objective),
        float(fairness_weight),
        _check_known(known_labels, *array.shape),
        float(prior_slack),
    )


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] < 1:
        raise ValueError(f"probs: shape {shape} is not (points, clusters); give one row a point")
    if shape[1] < 2:
        raise ValueError(f"probs: {shape[1]} column(s) make no clustering; give at least 2 clusters")


def _check_weight(fairness_weight: float) -> None:
    if not (_is_number(fairness_weight) and 0 < fairness_weight < math.inf):
        raise ValueError(
            f"fairness_weight: {fairness_weight!r} is not a positive number; give λ > 0, such as 10"
        )


def _check_prior(prior: Any, num_clusters: int, objective: str) -> np.ndarray:
    if prior is None:
        return np.full(num_clusters, 1.0 / num_clusters)
    weights = np.asarray(to_array(prior, "prior")[0], dtype=np.float64)
    if weights.shape != (num_clusters,):
        raise ValueError(
            f"prior: shape {weights.shape} does not fit {num_clusters} clusters; give ({num_clusters},)"
        )
    if not np.all(np.isfinite(weights)) or weights.min() < 0 or abs(weights.sum() - 1.0) > _SUM_TOLERANCE:
        raise ValueError(
            f"prior: sums to {weights.sum():.6g}, smallest {weights.min():.6g}; give probabilities (sum 1)"
        )
    if OBJECTIVES[objective].needs_positive_prior and weights.min() == 0:
        raise ValueError(
            f"prior: 0 for cluster {weights.argmin()} makes {objective!r} infinite; use 'cce_plus' or drop it"
        )
    return weights / weights.sum()


def _check_known(known_labels: Any, num_points: int, num_clusters: int) -> np.ndarray:
    if known_labels is None:
        return np.full(num_points, -1, dtype=np.int64)
    known = to_array(known_labels, "known_labels")[0]
    if known.shape != (num_points,):
        raise ValueError(
            f"known_labels: shape {known.shape} does not fit {num_points} points; give ({num_points},)"
        )
    if known.dtype.kind not in "iu":
        raise ValueError(
            f"known_labels: dtype {known.dtype} is not an integer type; give int64, -1 for unknown"
        )
    bad = np.flatnonzero((known < -1) | (known >= num_clusters))
    if bad.size:
        raise ValueError(
            f"known_labels: {known[bad[0]]} at row {bad[0]} is no class; give 0..{num_clusters - 1} or -1"
        )
    return np.ascontiguousarray(known, dtype=np.int64)


def _choose_solver(
    solver: str, problem: Problem, objective: str, gap_tolerance: float | None
) -> type[Solver]:
    from cce_ray.pseudo_labels import SOLVERS

    if solver == "auto":
        return SOLVERS[choose_solver(problem, objective, gap_tolerance)]
    if solver not in SOLVERS:
        raise ValueError(f"solver: {solver!r} is unknown; choose one of auto, {', '.join(SOLVERS)}")
    able = [name for name, candidate in SOLVERS.items() if objective in candidate.objectives]
    if solver not in able:
        raise ValueError(f"solver: {solver!r} cannot minimise {objective!r}; use {' or '.join(able)}")
    return SOLVERS[solver]


def _start(problem: Problem, init: Any, double: bool, *, half: bool) -> np.ndarray:
    """Check the rows of σ and write the start y, in σ's dtype or in float64."""
    labels = np.empty_like(problem.probs, dtype=np.float64 if double else None)
    _fill(problem.probs, "probs", START_FLOOR, half, labels)
    if init is not None:
        given, _ = to_array(init, "init")
        if given.shape != labels.shape:
            raise ValueError(f"init: shape {given.shape} is not that of probs; give {labels.shape}")
        _fill(to_floating(given, "init"), "init", 0.0, given.dtype.itemsize < 4 or _is_half(init), labels)
    rows = np.flatnonzero(problem.known >= 0)
    if rows.size:
        labels[rows] = 0
        labels[rows, problem.known[rows]] = 1
    return labels


def _fill(source: np.ndarray, name: str, floor: float, half: bool, labels: np.ndarray) -> None:
    from cce_ray.pseudo_labels import blocks_kernel

    tolerance = _SUM_TOLERANCE_HALF if half else _SUM_TOLERANCE
    verdict, row = blocks_kernel.start_rows(source, floor, tolerance, labels)
    if verdict == blocks_kernel.ROW_NOT_FINITE:
        raise ValueError(
            f"{name}: row {row} holds NaN or infinity; check the model's outputs (a lower learning rate?)"
        )
    if verdict == blocks_kernel.ROW_NEGATIVE:
        raise ValueError(
            f"{name}: row {row} holds {source[row].min():.6g} < 0; give probabilities (softmax of logits)"
        )
    if verdict == blocks_kernel.ROW_SUM:
        total = source[row].sum(dtype=np.float64)
        raise ValueError(
            f"{name}: row {row} sums to {total:.6g}, not 1; give probabilities (softmax of logits)"
        )


def _is_half(values: Any) -> bool:
    """bfloat16 tensors, which arrive here as float32."""
    return str(getattr(values, "dtype", "")) == "torch.bfloat16"


def _value(problem: Problem, labels: np.ndarray, objective: str) -> float:
    from cce_ray.pseudo_labels import blocks_kernel

    chosen = OBJECTIVES[objective]
    total = blocks_kernel.collision_sum if chosen.data == "collision" else blocks_kernel.shannon_sum
    mean = labels.mean(axis=0, dtype=np.float64)
    fairness = chosen.fairness(mean, problem.prior, problem.fairness_weight, problem.prior_slack)
    return float(total(problem.probs, labels)) / problem.num_points + fairness
