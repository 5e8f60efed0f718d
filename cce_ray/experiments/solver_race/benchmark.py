"""`cce bench pseudo-labels`: the solvers' time to a certified gap, and what the machine would allow.

σ = softmax(N(0,1)) with seed 0, float64 for everyone, uniform prior, objective (11).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from cce_ray.experiments.provenance import facts
from cce_ray.experiments.solver_race.contenders import contenders
from cce_ray.experiments.solver_race.machine_limits import (
    DIVISIONS,
    MOVES,
    MULTIPLY_ADDS,
    kernel_rate,
    plain_loop_ratio,
)
from cce_ray.experiments.solver_race.race import Budget, Contender
from cce_ray.pseudo_labels import Problem

PICTURE, PAGE, DATA = "pseudo_labels.png", "pseudo_labels.md", "pseudo_labels.json"


@final
@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    clusters: tuple[int, ...] = (2, 20, 200)
    fairness_weights: tuple[float, ...] = (1.0, 10.0, 100.0)
    points: tuple[int, ...] = (250, 4096)
    targets: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    """Certified gaps, falling."""
    pictured: tuple[int, float] = (250, 10.0)
    """(M, λ) of the picture."""
    budget: Budget = field(default_factory=lambda: Budget(cell=60.0, repeats=1.0))
    kernel_sizes: tuple[tuple[int, int], ...] = ((250, 20), (250, 200), (200_000, 100))
    """(M, K) at which the EM kernel is held against the machine."""
    plain_size: tuple[int, int] = (250, 200)
    """(M, K) at which `em` is held against a plain loop."""
    kernel_seconds: float = 4.0
    """Seconds for one rate of a kernel."""


QUICK = Plan(
    fairness_weights=(10.0,),
    points=(250,),
    budget=Budget(cell=1.0, repeats=0.05),
    kernel_sizes=((250, 20), (250, 200), (20_000, 100)),
    kernel_seconds=0.5,
)


def silent(text: str) -> None:
    """Tell nobody."""


def run_benchmark(
    plan: Plan, *, quick: bool = False, progress: Callable[[str], None] = silent
) -> dict[str, Any]:
    """Measure everything in `plan`; the result is plain data that JSON can hold.

    Args:
        plan: what to measure.
        quick: stands in the result.
        progress: told a line about every measurement.
    """
    started, machine = time.perf_counter(), facts()
    kernel = []
    for dtype in (np.float32, np.float64):
        for size in plan.kernel_sizes:
            kernel.append(kernel_rate(predictions(*size).astype(dtype), plan.kernel_seconds))
            progress(f"EM kernel, M={size[0]} K={size[1]} {dtype.__name__}")
    plain = [
        plain_loop_ratio(predictions(*plan.plain_size).astype(dtype), plan.kernel_seconds)
        for dtype in (np.float32, np.float64)
    ]
    cells, races = _race_all(plan, progress)
    return {
        "benchmark": "pseudo-labels",
        "quick": quick,
        "facts": machine,
        "plan": asdict(plan),
        "races": races,
        "cells": cells,
        "kernel": kernel,
        "kernel_work": {"moves": MOVES, "divisions": DIVISIONS, "multiply-adds": MULTIPLY_ADDS},
        "plain_loop": plain,
        "seconds": time.perf_counter() - started,
    }


def _race_all(plan: Plan, progress: Callable[[str], None]) -> tuple[list[dict[str, Any]], int]:
    """Every contender on every problem, and how many races that is; Ctrl-C ends with those that are run."""
    races = [
        (points, weight, clusters, contender)
        for points in plan.points
        for weight in plan.fairness_weights
        for clusters in plan.clusters
        for contender in contenders(clusters)
    ]
    cells: list[dict[str, Any]] = []
    try:
        for number, (points, weight, clusters, contender) in enumerate(races, 1):
            cells.append(race_one(plan, points, weight, clusters, contender))
            problem = f"M={points} λ={weight:g} K={clusters}"
            progress(f"{number}/{len(races)}  {problem}  {cells[-1]['contender']}: {told(cells[-1])}")
    except KeyboardInterrupt:
        progress(f"interrupted: {len(cells)} of {len(races)} races are kept")
        if not cells:
            raise
    return cells, len(races)


def race_one(
    plan: Plan, num_points: int, weight: float, num_clusters: int, contender: Contender
) -> dict[str, Any]:
    """One contender on one problem."""
    problem = Problem(
        predictions(num_points, num_clusters),
        np.full(num_clusters, 1 / num_clusters),
        weight,
        np.full(num_points, -1),
    )
    pictured = plan.pictured == (num_points, weight)
    arrivals, trace = contender.race(problem, plan.targets, plan.budget, pictured)
    return {
        **contender.facts,
        "num_points": num_points,
        "num_clusters": num_clusters,
        "fairness_weight": weight,
        "arrivals": [asdict(arrival) for arrival in arrivals],
        "trace": trace,
    }


def told(cell: dict[str, Any]) -> str:
    """The arrivals in one line."""
    from cce_ray.experiments.solver_race.tables import arrival_text

    return ", ".join(arrival_text(arrival) for arrival in cell["arrivals"])


def predictions(num_points: int, num_clusters: int) -> np.ndarray:
    """softmax(N(0,1)), seed 0, (M, K), float64."""
    powers = np.exp(np.random.default_rng(0).normal(size=(num_points, num_clusters)))
    probs: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probs


def write_report(report: dict[str, Any], folder: Path) -> list[Path]:
    """The data, the page and the picture in `folder`; returns their paths."""
    import json

    from cce_ray.experiments.solver_race.picture import picture
    from cce_ray.experiments.solver_race.tables import page
    from cce_ray.files import replacing, write_text

    write_text(folder / DATA, json.dumps(report, indent=1) + "\n")
    write_text(folder / PAGE, page(report))
    with replacing(folder / PICTURE) as temporary:
        temporary.write_bytes(picture(report))
    return [folder / DATA, folder / PAGE, folder / PICTURE]
