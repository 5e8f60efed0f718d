"""`estimate_pseudo_labels`: the one public way in. Checks, chooses the solver, runs it, reports."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from cce_ray.pseudo_labels.arrays import to_array, to_floating
from cce_ray.pseudo_labels.certificate import certified_gap
from cce_ray.pseudo_labels.checks import (
    check_known,
    check_limits,
    check_names,
    check_prior,
    check_problem,
    check_shape,
    check_slack,
    check_weight,
    start_labels,
)
from cce_ray.pseudo_labels.choice import can_solve, choose_backend, choose_solver, solvers_for
from cce_ray.pseudo_labels.mappers import choose_mapper
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import Problem
from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.pseudo_labels.solvers import SOLVERS
from cce_ray.pseudo_labels.solvers.abilities import Task
from cce_ray.pseudo_labels.solvers.driver import Limits, Solver, iterate
from cce_ray.pseudo_labels.solvers.em import OBJECTIVE

# Where a solver that goes for the optimum stops if no gap is asked for, relative to 1 + λ: what labels in
# single precision can hold is coarser.
_EXACT_GAPS = {"float32": 1e-7, "float64": 1e-10}


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
        fairness_weight: λ of the objective, whose first term is a mean over the points; 1e-12 to 1e12.
        objective: "cce_plus" (11), "cce" (10) or "shannon" (loss (5) with weight λ).
        prior: u, (K,), sums to one; uniform if None. Zeros are fine for "cce_plus" only.
        prior_slack: ε >= 0: a cluster's share may be anywhere within u_k (1 ± ε), not below 0, without cost:
            the fairness term becomes its minimum over such shares v with sum one.
        solver: "em" and "em_accelerated" (11), "exact" and "pgd" (10) and (11), "mirror" (5), or "auto":
            "em", "pgd" or "mirror" without a `gap_tolerance`, with one the solver expected to reach it first.
        max_iterations: iteration limit, >= 0.
        tolerance: stop when max |Δy| of an iteration is at most this ("exact" does not look at it).
        gap_tolerance: stop when the objective is certified to be within this (absolute) of its minimum; None:
            never, and for "exact" 1e-10 (1 + λ), in single precision 1e-7 (1 + λ).
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
    check_names(objective, solver, backend)
    check_slack(prior_slack)
    limits = check_limits(max_iterations, tolerance, gap_tolerance)
    if choose_backend(backend, probs, solver, Task(objective, prior_slack, gap_tolerance)) == "gpu":
        return _estimate_on_device(probs, fairness_weight, prior, limits, known_labels, init)
    array, restore = to_array(probs, "probs")
    problem = check_problem(array, fairness_weight, objective, prior, prior_slack, known_labels)
    solver_type = _choose_solver(solver, problem, objective, gap_tolerance)

    labels = start_labels(problem, probs, init, solver_type.double)
    mapper = choose_mapper(backend, labels.size)
    worker = solver_type(problem, labels, mapper, objective)

    def finished() -> np.ndarray:
        return _finished(labels, problem.probs.dtype) if solver_type.double else labels

    def certify(found: np.ndarray) -> float:
        return certified_gap(problem, found, objective, worker.prices)

    if worker.gap is not None and limits.gap_tolerance is None:
        relative = _EXACT_GAPS[problem.probs.dtype.name]
        limits = replace(limits, gap_tolerance=relative * (1.0 + problem.fairness_weight))
    iterations, change, reason = iterate(worker, limits, lambda: certify(finished()))
    found = finished()
    return PseudoLabels(
        restore(found),
        lambda: _value(problem, found, objective),
        lambda: certify(found),
        (iterations, change),
        lambda: reason,
    )


def _finished(labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float64 labels as they are returned, and therefore judged: normalised, in σ's precision."""
    normalised: np.ndarray = labels / labels.sum(axis=1, keepdims=True)
    return normalised.astype(dtype, copy=False)


def _estimate_on_device(
    probs: Any, fairness_weight: float, prior: Any, limits: Limits, known_labels: Any, init: Any
) -> PseudoLabels:
    """EM on the device of `probs`, a tensor. The host waits for it once, to look at the values of σ; the
    objective and the gap are computed on the host, if they are asked for."""
    import torch

    from cce_ray.pseudo_labels.device.em import check_on_device, em_on_device

    probs = probs.detach()
    check_shape(tuple(probs.shape))
    check_weight(fairness_weight)
    check_on_device(probs)
    shares = check_prior(prior, probs.shape[1], OBJECTIVE)
    known = check_known(known_labels, *probs.shape)
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
        lambda: _value(*host(), OBJECTIVE),
        lambda: certified_gap(*host(), OBJECTIVE),
        (found.iterations, found.change),
        lambda: "tolerance" if float(found.change) <= limits.tolerance else "max_iterations",
    )


def _choose_solver(
    solver: str, problem: Problem, objective: str, gap_tolerance: float | None
) -> type[Solver]:
    if solver == "auto":
        return SOLVERS[choose_solver(problem, objective, gap_tolerance)]
    able = solvers_for(Task(objective))
    if solver not in able:
        raise ValueError(f"solver: {solver!r} cannot minimise {objective!r}; use {' or '.join(able)}")
    slack = problem.prior_slack
    if not can_solve(solver, Task(objective, slack)):
        others = " or ".join(solvers_for(Task(objective, slack)))
        raise ValueError(f"prior_slack: {slack} is more than solver {solver!r} can do; use {others}")
    return SOLVERS[solver]


def _value(problem: Problem, labels: np.ndarray, objective: str) -> float:
    from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel

    chosen = OBJECTIVES[objective]
    total = blocks_kernel.collision_sum if chosen.data == "collision" else blocks_kernel.shannon_sum
    mean = labels.mean(axis=0, dtype=np.float64)
    fairness = chosen.fairness(mean, problem.prior, problem.fairness_weight, problem.prior_slack)
    return float(total(problem.probs, labels)) / problem.num_points + fairness
