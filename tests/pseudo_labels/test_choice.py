from typing import Any

import numpy as np
import pytest
from pseudo_label_problems import make_problem, softmax

from cce_ray.pseudo_labels import OBJECTIVES, SOLVERS, Task, choice, estimate_pseudo_labels
from cce_ray.pseudo_labels.problem import Problem


def problem(points: int = 250, clusters: int = 20, weight: float = 10.0, slack: float = 0.0) -> Problem:
    made = make_problem(np.broadcast_to(np.float32(1 / clusters), (points, clusters)), weight)
    return Problem(made.probs, made.prior, weight, made.known, slack)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("gap", [None, 1e-2, 1e-6])
@pytest.mark.parametrize("slack", [0.0, 0.5])
def test_the_choice_can_do_what_is_asked(objective: str, gap: float | None, slack: float) -> None:
    name = choice.choose_solver(problem(slack=slack), objective, gap)
    assert objective in SOLVERS[name].abilities["host"].objectives
    assert not (slack and name == "exact")
    assert gap is not None or name == choice.USUAL[objective]


def test_the_more_is_asked_the_sooner_it_is_exact() -> None:
    def wins(gap: float = 1e-3, **options: Any) -> bool:
        return choice.choose_solver(problem(**options), "cce_plus", gap) == "exact"

    assert wins(weight=100.0) and wins(gap=1e-6) and wins(clusters=200, weight=100.0)
    assert not wins(gap=1e-1, weight=0.1)
    assert not wins(points=10_000_000, weight=1e6)  # its arrays would take 6.4 GB
    assert not wins(clusters=10_000, weight=1e6)


# Mirror descent for (5) needs more iterations the larger λ.
@pytest.mark.parametrize(
    ("objective", "weight"),
    [*((name, weight) for name in ("cce_plus", "cce") for weight in (0.1, 3.0, 300.0)), ("shannon", 3.0)],
)
def test_auto_reaches_the_gap(objective: str, weight: float) -> None:
    probs = softmax(np.random.default_rng(0).normal(size=(200, 12)))
    options = {"fairness_weight": weight, "objective": objective, "max_iterations": 3000, "tolerance": 0}
    result = estimate_pseudo_labels(probs, gap_tolerance=1e-3, **options)
    assert result.reason == "gap" and result.gap <= 1e-3


def test_backends() -> None:
    def choose(backend: str, **options: Any) -> str:
        solver = options.pop("solver", "auto")
        task = Task(**({"objective": "cce_plus"} | options))
        return choice.choose_backend(backend, np.ones((2, 2)), solver, task)

    assert [choose(name) for name in ("auto", "inline", "threads")] == ["auto", "inline", "threads"]
    with pytest.raises(ValueError, match="needs probs as a tensor on a GPU"):
        choose("gpu")
    for unable in ({"objective": "cce"}, {"solver": "exact"}, {"gap_tolerance": 1.0}, {"prior_slack": 0.1}):
        with pytest.raises(ValueError, match="backend: 'gpu' does EM"):
            choose("gpu", **unable)
