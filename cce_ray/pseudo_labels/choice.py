"""Which solver `solver="auto"` is, from the times in docs/pseudo_labels.md, and which backend "auto" is."""

import math
import os
import sys
from typing import Any

from cce_ray.pseudo_labels.problem import Problem
from cce_ray.pseudo_labels.solvers import SOLVERS
from cce_ray.pseudo_labels.solvers.abilities import Place, Task

# Without a wanted gap: the paper's own, whose early end is part of how it trains, or the only one.
USUAL = {"cce_plus": "em", "cce": "pgd", "shannon": "mirror"}

# Entries of y from which the float64 arrays of "exact" (1.6 GB) and "pgd" are too much to take unasked.
_LARGE = 50_000_000
# Clusters from which the K×K system of "exact" is.
_MANY = 2048
# Up to this λ, and fewer clusters than this, projected gradients need fewer steps than anything else.
_LIGHT, _FEW = 2.0, 50


def solvers_for(task: Task, place: Place = "host") -> list[str]:
    """The solvers that can do a task in a place."""
    return [
        name
        for name, kind in SOLVERS.items()
        if place in kind.abilities and kind.abilities[place].covers(task)
    ]


def can_solve(solver: str, task: Task, place: Place = "host") -> bool:
    """Whether a solver can do a task in a place; "auto" stands for the usual solver of the objective."""
    name = USUAL.get(task.objective or "") if solver == "auto" else solver
    return name in solvers_for(task, place)


def choose_solver(problem: Problem, objective: str, gap_tolerance: float | None) -> str:
    """The solver expected to be the fastest to a certified gap of `gap_tolerance`; None: no gap is wanted.

    For (11) em_accelerated needs more iterations the larger λ and K and the smaller the gap; exact always
    about ten, each of which costs O(M K²). For (10) exact is the faster throughout.
    """
    if gap_tolerance is None or objective == "shannon":
        return USUAL[objective]
    small = problem.num_points * problem.num_clusters <= _LARGE
    able = (
        can_solve("exact", Task(objective, problem.prior_slack)) and small and problem.num_clusters <= _MANY
    )
    if objective == "cce":
        return "exact" if able else "pgd"
    if small and problem.fairness_weight <= _LIGHT and problem.num_clusters <= _FEW:
        return "pgd"
    if able and _exact_seconds(problem, gap_tolerance) < _em_accelerated_seconds(problem, gap_tolerance):
        return "exact"
    return "em_accelerated"


def _exact_seconds(problem: Problem, gap: float) -> float:
    """About what it takes on one thread: calls, passes over the rows, outer products, Cholesky."""
    points, clusters = problem.num_points, problem.num_clusters
    iterations = 4.0 + 2.6 * math.log10(clusters) + max(0.0, -math.log10(max(gap, 1e-12)) - 3.0)
    row = 6e-7 + 3e-8 * clusters + 3e-11 * clusters**2
    return iterations * (2.5e-4 + points * row + 2e-11 * clusters**3)


def _em_accelerated_seconds(problem: Problem, gap: float) -> float:
    """About what it takes on one thread, with iterations as seen on softmax(N(0, 1))."""
    points, clusters = problem.num_points, problem.num_clusters
    growth = problem.fairness_weight**0.55 * clusters**0.3
    iterations = max(5.0, 6.0 * growth * (1e-3 / max(gap, 1e-12)) ** 0.3)
    return float(iterations * (2.5e-5 + points * (7e-8 + 4e-9 * clusters)))


def choose_backend(backend: str, probs: Any, solver: str, task: Task) -> str:
    """ "gpu", or else what the host is to do: "auto", "inline" or "threads".

    Raises:
        ValueError: "gpu" cannot do this.
    """
    able = can_solve(solver, task, "device")
    if backend == "auto":
        return "gpu" if able and _device_of(probs) != "cpu" else "auto"
    if backend != "gpu":
        return backend
    if not able:
        raise ValueError(
            "backend: 'gpu' does EM for 'cce_plus', without gap_tolerance and prior_slack; "
            "leave these out or use auto"
        )
    # Triton's interpreter, for tests, works on the host.
    if _device_of(probs) == "cpu" and not (_is_tensor(probs) and os.environ.get("TRITON_INTERPRET")):
        raise ValueError("backend: 'gpu' needs probs as a tensor on a GPU; move them there or use auto")
    return "gpu"


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def _device_of(values: Any) -> str:
    return str(values.device.type) if _is_tensor(values) else "cpu"
