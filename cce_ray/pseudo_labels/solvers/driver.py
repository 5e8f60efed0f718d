"""The one loop of all pseudo-label solvers: it owns the limits, the stopping rules and the reason."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, final

import numpy as np

from cce_ray.pseudo_labels.mappers import Mapper
from cce_ray.pseudo_labels.problem import Problem
from cce_ray.pseudo_labels.solvers.abilities import Ability, Place

Reason = Literal["tolerance", "gap", "max_iterations"]

# When solvers that know no gap are asked for the certificate, which costs about one or two iterations: twice
# early on, then so often.
EARLY_LOOKS, GAP_INTERVAL = (2, 5), 10


class Solver(Protocol):
    """One algorithm at work on one problem, whose `labels` it changes in place."""

    abilities: ClassVar[Mapping[Place, Ability]]
    """What it can do, by the place where it can run."""
    double: ClassVar[bool]
    """Whether its labels are float64 while it works, whatever σ's type."""

    @property
    def gap(self) -> float | None:
        """For a solver that knows one at every iteration: a bound on how far from the minimum it is. Such a
        solver goes for the optimum: a small change of the labels does not stop it."""
        ...

    @property
    def prices(self) -> np.ndarray | None:
        """Its dual point p, (K,), if it has one: often better for the certificate than what labels imply."""
        ...

    def __init__(self, problem: Problem, labels: np.ndarray, mapper: Mapper, objective: str) -> None: ...

    def advance(self) -> float:
        """Do one iteration in place and return max |Δy|."""
        ...


@final
@dataclass(frozen=True)
class Limits:
    """When to stop: whichever comes first."""

    max_iterations: int
    tolerance: float
    """Stop when max |Δy| of an iteration is at most this."""
    gap_tolerance: float | None
    """Stop when the certified gap is at most this."""


def iterate(solver: Solver, limits: Limits, certify: Callable[[], float]) -> tuple[int, float, Reason]:
    """Run `solver` until a limit is met; returns the number of iterations, the last max |Δy| and the reason.

    Args:
        solver: advanced in place.
        limits: the stopping rules.
        certify: the certified gap at the solver's present labels.
    """
    change = math.inf
    for iteration in range(1, limits.max_iterations + 1):
        change = solver.advance()
        assert math.isfinite(change), "a solver left the finite numbers on checked input"
        if _may_be_close(solver, limits, iteration) and certify() <= limits.gap_tolerance:  # type: ignore[operator]
            return iteration, change, "gap"
        if change <= (limits.tolerance if solver.gap is None else 0.0):
            return iteration, change, "tolerance"
    return limits.max_iterations, change, "max_iterations"


def _may_be_close(solver: Solver, limits: Limits, iteration: int) -> bool:
    """Whether the certificate is worth its time."""
    if limits.gap_tolerance is None:
        return False
    if solver.gap is not None:
        return solver.gap <= limits.gap_tolerance
    return iteration in EARLY_LOOKS or iteration % GAP_INTERVAL == 0
