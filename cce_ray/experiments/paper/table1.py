"""Table 1: EM against projected gradient descent, to convergence, at K = 2, 20 and 200."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from cce_ray.experiments.experiment import Options, Outcome
from cce_ray.experiments.paper.published import paper_tables
from cce_ray.experiments.solver_race.benchmark import Plan, race_one, told
from cce_ray.experiments.solver_race.contenders import contenders
from cce_ray.experiments.solver_race.race import Budget, Contender
from cce_ray.experiments.solver_race.tables import arrival_text, short
from cce_ray.experiments.table import Table
from cce_ray.runs import Listener

_NUM_POINTS = 250
_CONVERGED = 1e-3
"""The certified gap that counts as converged."""
_PLAN = Plan(fairness_weights=(1.0, 100.0), points=(_NUM_POINTS,), pictured=(0, 0.0))
QUICK = replace(_PLAN, clusters=(2, 20), fairness_weights=(1.0,), budget=Budget(cell=2.0, repeats=0.1))
_PAPER_ROWS = {
    "paper's PGD, η1": "pgd_eta1",
    "paper's PGD, η2": "pgd_eta2",
    "paper's PGD, η3": "pgd_eta3",
    "paper's EM": "em",
}
"""{contender: its key among the paper's numbers}."""
EM, OURS = "paper's EM", ("em", "auto")
Cell = dict[str, Any]
"""What `race_one` found."""
TEXT = f"""
Seconds an iteration, iterations and seconds until the pseudo-labels y of one batch have converged: for the
paper's EM (Algorithm 1), for projected gradient descent (PGD) with the paper's three step sizes η, and for
`em` and `auto` of `cce_ray.pseudo_labels`. One thread, float64, start y = σ.

The paper says neither how many points M, which λ and which predictions σ it used, nor when a solver counts
as converged. Here M = {_NUM_POINTS}, the batch of its experiments; σ = softmax(N(0,1)), seed 0; uniform
prior; converged is a certified gap of {short(_CONVERGED)} to the minimum of (11), the same demand on every
solver. The last tables show how much the count owes to that; in parentheses is the gap of one that ran out of
time.
λ = 1 lets every step size of the paper descend; at λ = 100, the weight of its experiments, all but the
shortest for K = 2 and 20 empty a cluster and diverge.

`paper's PGD` and `paper's EM` are plain compiled loops of what the paper describes (with the factor M in the
M-step, without which it does not minimise (11)), timed without any certificate. `em` and `auto` are timed as
whole calls; they look at their certificates only now and then, and so do a few iterations more. The paper's
hardware is another: compare ratios.
"""


def racers(num_clusters: int) -> Iterator[Contender]:
    """The paper's algorithms, our EM and our default, on one thread."""
    for racer in contenders(num_clusters):
        if racer.facts["contender"] in (*_PAPER_ROWS, *OURS):
            yield racer


def measure(plan: Plan, listener: Listener) -> list[Cell]:
    """A cell a solver and problem, as the benchmark's."""
    cells = []
    for weight in plan.fairness_weights:
        for clusters in plan.clusters:
            for racer in racers(clusters):
                cells.append(race_one(plan, _NUM_POINTS, weight, clusters, racer))
                listener.note(f"λ={weight:g} K={clusters} {cells[-1]['contender']}: {told(cells[-1])}")
    return cells


def _title_of(cell: Cell) -> str:
    """The solver, with its step size."""
    return f"{cell['contender']} = {cell['step']:g}" if "step" in cell else str(cell["contender"])


def converged(cell: Cell) -> dict[str, Any]:
    """The arrival at the gap that counts."""
    arrival: dict[str, Any] = next(one for one in cell["arrivals"] if one["target"] == _CONVERGED)
    return arrival


def numbers(cell: Cell) -> list[str]:
    """Seconds an iteration, iterations and seconds to convergence; or what happened instead."""
    arrival = converged(cell)
    each = f"{arrival['seconds'] / max(1, arrival['iterations']):.1e}"
    if arrival["status"] == "reached":
        return [each, str(arrival["iterations"]), f"{arrival['seconds']:.2g}"]
    return [each, f"not in {arrival['iterations']}", arrival_text(arrival)]


def _printed(cell: Cell) -> list[str]:
    """The paper's three numbers."""
    key = _PAPER_ROWS.get(cell["contender"])
    if key is None:
        return ["-"] * 3
    each, iterations, seconds = paper_tables()["table1"][key][str(cell["num_clusters"])]
    return [f"{each:.1e}", str(iterations), f"{seconds:g}"]


def beside_paper(cells: Sequence[Cell]) -> Table:
    """One problem: ours and the paper's numbers in turn."""
    rows = []
    for cell in cells:
        pairs = zip(numbers(cell), _printed(cell), strict=True)
        rows.append([_title_of(cell), *(text for pair in pairs for text in pair)])
    headings = ["solver", "s/iteration", "paper", "iterations", "paper", "seconds", "paper"]
    return Table(f"K = {cells[0]['num_clusters']}, λ = {cells[0]['fairness_weight']:g}", headings, rows)


def speed_ups(cells: Sequence[Cell]) -> Table:
    """How much faster EM converges than the fastest projected gradient that does."""
    rows = []
    for group in problems(cells):
        seconds = {
            c["contender"]: converged(c)["seconds"] for c in group if converged(c)["status"] == "reached"
        }
        gradients = [value for name, value in seconds.items() if "PGD" in name]
        key = str(group[0]["num_clusters"])
        paper = {name: paper_tables()["table1"][row][key][2] for name, row in _PAPER_ROWS.items()}
        best = min(value for name, value in paper.items() if "PGD" in name)
        ratios = [
            f"{min(gradients) / seconds[name]:.2g}" if gradients and name in seconds else "-"
            for name in (EM, *OURS)
        ]
        weight = f"{group[0]['fairness_weight']:g}"
        rows.append([f"K = {key}, λ = {weight}", *ratios, f"{best / paper[EM]:.2g}"])
    headings = ["problem", EM, *OURS, f"{EM}, in the paper"]
    return Table("Time of the fastest converging PGD over that of", headings, rows)


def by_gap(cells: Sequence[Cell]) -> Table:
    """Iterations and time to every gap, a row a solver: what the answer owes to the stopping rule."""
    targets = [arrival["target"] for arrival in cells[0]["arrivals"]]
    groups = problems(cells)
    headings = [f"K={group[0]['num_clusters']}: {short(target)}" for group in groups for target in targets]
    rows = [
        [same[0]["contender"], *(_steps_text(arrival) for cell in same for arrival in cell["arrivals"])]
        for same in zip(*groups, strict=True)
    ]
    weight = cells[0]["fairness_weight"]
    return Table(f"Iterations and time to a certified gap, λ = {weight:g}", ["solver", *headings], rows)


def _steps_text(arrival: dict[str, Any]) -> str:
    """53 in 1.2 ms, or what happened instead."""
    text = arrival_text(arrival)
    return f"{arrival['iterations']} in {text}" if arrival["status"] == "reached" else text


def problems(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each (λ, K), in order."""
    groups: dict[tuple[float, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell["fairness_weight"], cell["num_clusters"]), []).append(cell)
    return list(groups.values())


def run(options: Options, listener: Listener) -> Outcome:
    """Measure and render."""
    if options.seeds:
        listener.note("table1: --seeds is not read, the problems are drawn once, with seed 0")
    cells = measure(QUICK if options.quick else _PLAN, listener)
    first = [cell for cell in cells if cell["fairness_weight"] == _PLAN.fairness_weights[0]]
    weights = dict.fromkeys(cell["fairness_weight"] for cell in cells)
    return Outcome(
        title="Table 1: EM against projected gradient descent",
        text=TEXT,
        tables=[
            speed_ups(cells),
            *(beside_paper(group) for group in problems(first)),
            *(by_gap([cell for cell in cells if cell["fairness_weight"] == weight]) for weight in weights),
        ],
        data={"converged": _CONVERGED, "cells": cells},
    )
