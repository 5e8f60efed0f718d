"""The race for a certified gap: how the time to it is taken, for the paper's algorithms and for ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any, Literal, Protocol, final

import numpy as np

from cce_ray.experiments.solver_race.stopwatch import median_seconds, timed
from cce_ray.pseudo_labels import Problem, PseudoLabels, certified_gap, estimate_pseudo_labels

OBJECTIVE = "cce_plus"

# Baselines are looked at after every iteration at first, then whenever their number has grown by 2 %.
_LOOKS = 50
# A baseline has stalled when its gap falls by less than this share in a sixth of its time.
PROGRESS, PATIENCE = 0.05, 1 / 6
# The iteration limit of the first call of a solver of ours.
_FIRST_ITERATIONS = 100

Status = Literal["reached", "time limit", "diverged", "stopped", "stalled"]
Trace = list[tuple[float, float]]
Call = Callable[[int, float | None], PseudoLabels]


@final
@dataclass(frozen=True)
class Budget:
    """How long one contender may take."""

    cell: float
    """Seconds for one target."""
    repeats: float
    """Seconds for the repetitions of a short measurement."""


@final
@dataclass(frozen=True)
class Arrival:
    """One contender at one target."""

    target: float
    status: Status
    """stopped: the solver saw no way down any more, or claimed a gap that it does not have; stalled: see
    `PATIENCE`."""
    seconds: float
    """Until there, or until it stopped."""
    iterations: int
    gap: float | None
    """The gap it had; None: infinite."""


class Contender(Protocol):
    """A named way to solve the problem."""

    @property
    def facts(self) -> dict[str, Any]:
        """contender (its name), kind ("paper" or "ours") and what else identifies it."""
        ...

    def race(
        self, problem: Problem, targets: tuple[float, ...], budget: Budget, want_trace: bool
    ) -> tuple[list[Arrival], Trace]:
        """One arrival a target (falling), and (seconds, gap) on the way if wanted."""
        ...


@final
@dataclass(frozen=True)
class Baseline:
    """One of the paper's algorithms, whose time never includes a certificate."""

    facts: dict[str, Any]
    advance: Callable[[Problem, np.ndarray, int], bool]

    def race(
        self, problem: Problem, targets: tuple[float, ...], budget: Budget, want_trace: bool
    ) -> tuple[list[Arrival], Trace]:
        """One traced run; arrivals that took less than the repeats' budget are timed again without looks."""
        self.advance(problem, problem.probs.copy(), 1)
        labels, seconds, iterations = problem.probs.copy(), 0.0, 0
        pending, arrivals, trace = list(targets), [], []
        status: Status = "time limit"
        gap = math.inf
        lowest, lowered = math.inf, 0.0
        while pending and seconds < budget.cell:
            chunk = max(1, iterations // _LOOKS)
            took, usable = timed(partial(self.advance, problem, labels, chunk))
            seconds, iterations = seconds + took, iterations + chunk
            gap = certified_gap(problem, labels, OBJECTIVE) if usable else math.inf
            if not math.isfinite(gap):
                status = "diverged"
                break
            trace.append((seconds, gap))
            if gap < (1 - PROGRESS) * lowest:
                lowest, lowered = gap, seconds
            while pending and gap <= pending[0]:
                again = self._again(problem, iterations, seconds, budget)
                arrivals.append(Arrival(pending.pop(0), "reached", again, iterations, gap))
            if seconds - lowered > PATIENCE * budget.cell:
                status = "stalled"
                break
        arrivals += [Arrival(target, status, seconds, iterations, finite(gap)) for target in pending]
        return arrivals, trace if want_trace else []

    def _again(self, problem: Problem, iterations: int, first: float, budget: Budget) -> float:
        start = problem.probs.copy

        def run() -> bool:
            return self.advance(problem, start(), iterations)

        return median_seconds(run, budget.repeats, first=None if first < budget.repeats / 3 else first)


@final
@dataclass(frozen=True)
class Ours:
    """A solver called as users call it: the time is that of the whole call, certificates included."""

    facts: dict[str, Any]
    solver: str
    backend: str

    def race(
        self, problem: Problem, targets: tuple[float, ...], budget: Budget, want_trace: bool
    ) -> tuple[list[Arrival], Trace]:
        """Calls with `gap_tolerance` at each target; the trace comes from calls with an iteration limit."""
        call = self._prepare(problem)
        arrivals: list[Arrival] = []
        for target in targets:
            if arrivals and arrivals[-1].status != "reached":
                arrivals.append(replace(arrivals[-1], target=target))
            else:
                least = arrivals[-1].iterations if arrivals else _FIRST_ITERATIONS
                arrivals.append(self._arrive(call, problem, target, least, budget))
        return arrivals, self._trace(call, problem, targets[-1], budget) if want_trace else []

    def _prepare(self, problem: Problem) -> Call:
        import torch

        probs: Any = problem.probs
        gpu = self.backend == "gpu"
        if gpu:
            probs = torch.from_numpy(problem.probs).cuda()

        def call(iterations: int, gap_tolerance: float | None) -> PseudoLabels:
            result = estimate_pseudo_labels(
                probs,
                objective=OBJECTIVE,
                fairness_weight=problem.fairness_weight,
                prior=problem.prior,
                solver=self.solver,
                backend=self.backend,
                max_iterations=iterations,
                tolerance=0,
                gap_tolerance=gap_tolerance,
            )
            if gpu:
                torch.cuda.synchronize()
            return result

        call(4, 0.0)  # compiles: the iterations, the jump of em_accelerated, the certificate
        return call

    def _arrive(
        self, call: Call, problem: Problem, target: float, iterations: int, budget: Budget
    ) -> Arrival:
        """Calls with a rising iteration limit, as no clock stops a call, until one reaches the target."""
        while True:
            run = partial(call, iterations, target)
            seconds, result = timed(run)
            gap = _gap_of(problem, result)
            if gap <= target:
                seconds = median_seconds(run, budget.repeats, first=seconds)
                return Arrival(target, "reached", seconds, result.iterations, gap)
            if result.reason != "max_iterations":
                return Arrival(target, "stopped", seconds, result.iterations, finite(gap))
            if seconds > 0.85 * budget.cell:
                return Arrival(target, "time limit", seconds, result.iterations, finite(gap))
            iterations = math.ceil(iterations * min(4.0, budget.cell / seconds))

    def _trace(self, call: Call, problem: Problem, last: float, budget: Budget) -> Trace:
        """Calls of 1, 2, 3, 4, 6, 9, ... iterations without any look at the gap.

        Fewer iterations take no longer than more: a disturbed time counts as the next one that is shorter.
        """
        trace: Trace = []
        iterations, spent = 1, 0.0
        while spent < budget.cell:
            run = partial(call, iterations, None)
            first, result = timed(run)
            seconds = median_seconds(run, budget.repeats / 10, first=first)
            gap = _gap_of(problem, result)
            if math.isfinite(gap):
                trace.append((seconds, gap))
            if gap <= last or result.iterations < iterations:
                break
            spent += first
            iterations = max(iterations + 1, iterations * 3 // 2)
        least = list(accumulate((seconds for seconds, _ in reversed(trace)), min))
        return [(seconds, gap) for seconds, (_, gap) in zip(reversed(least), trace, strict=True)]


def _gap_of(problem: Problem, result: PseudoLabels) -> float:
    """The certificate of what a call returned, whatever the call says."""
    labels = result.labels if isinstance(result.labels, np.ndarray) else result.labels.cpu().numpy()
    return certified_gap(problem, labels, OBJECTIVE)


def finite(gap: float) -> float | None:
    """The gap as JSON knows it."""
    return gap if math.isfinite(gap) else None
