"""The benchmark of the pseudo-label solvers: right baselines, and a report that holds what it promises."""

import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pseudo_label_problems import Case, known_cases, make_problem, softmax

from cce_ray.experiments.solver_race import race as pseudo_label_race
from cce_ray.experiments.solver_race.baselines import (
    STEP_POINTS,
    fixed_step_pgd,
    paper_em,
    plain_slack_em,
    project,
)
from cce_ray.experiments.solver_race.benchmark import Plan, predictions, run_benchmark, write_report
from cce_ray.experiments.solver_race.contenders import contenders
from cce_ray.experiments.solver_race.machine_limits import machine_rates
from cce_ray.experiments.solver_race.race import Baseline, Budget
from cce_ray.experiments.solver_race.stopwatch import median_seconds
from cce_ray.experiments.solver_race.tables import duration, page, short, tables
from cce_ray.pseudo_labels import SOLVERS
from cce_ray.pseudo_labels.certificate import certified_gap
from cce_ray.pseudo_labels.problem import Problem
from cce_ray.pseudo_labels.reference.objectives import objective_reference
from cce_ray.pseudo_labels.reference.pgd import project_simplex_reference

CASES = list(known_cases())
TINY = Plan(
    clusters=(2, 5),
    fairness_weights=(10.0,),
    points=(60,),
    targets=(1e-1, 1e-2),
    pictured=(60, 10.0),
    budget=Budget(cell=0.2, repeats=0.001),
    kernel_sizes=((60, 5),),
    plain_size=(60, 5),
    kernel_seconds=0.01,
)


def start(case: Case) -> np.ndarray:
    labels = np.maximum(case.probs, 1e-8)
    return labels / labels.sum(axis=1, keepdims=True)


def pgd(probs: np.ndarray, labels: np.ndarray, weight: float, step: float, iterations: int) -> bool:
    prior = np.full(probs.shape[1], 1 / probs.shape[1])
    return fixed_step_pgd(probs, labels, prior, weight, step, iterations)


class TestBaselines:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    @pytest.mark.parametrize("baseline", [paper_em, plain_slack_em])
    def test_em_iterations_are_the_known_ones(self, case: Case, baseline: Any) -> None:
        for iterations, known in case.em.items():
            labels = start(case)
            assert baseline(case.probs, labels, case.prior, case.fairness_weight, iterations)
            np.testing.assert_allclose(labels, known, atol=2e-8)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("weight", [1.0, 100.0])
    def test_plain_loop_equals_em(self, dtype: type, weight: float) -> None:
        from cce_ray.pseudo_labels import estimate_pseudo_labels

        probs = predictions(100, 20).astype(dtype)
        labels = probs.copy()
        plain_slack_em(probs, labels, np.full(20, 0.05), weight, 30)
        ours = estimate_pseudo_labels(
            probs, fairness_weight=weight, solver="em", max_iterations=30, tolerance=0
        )
        np.testing.assert_allclose(labels, ours.labels, atol=1e-6 if dtype is np.float64 else 2e-5)

    @pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[5]], ids=lambda case: case.name)
    def test_small_steps_of_pgd_descend_to_the_optimum(self, case: Case) -> None:
        labels, values = start(case), []
        step = 0.4 * STEP_POINTS / (case.fairness_weight * len(case.prior))
        for _ in range(8):
            assert fixed_step_pgd(case.probs, labels, case.prior, case.fairness_weight, step, 600)
            values.append(
                objective_reference(
                    case.probs,
                    labels,
                    objective="cce_plus",
                    prior=case.prior,
                    fairness_weight=case.fairness_weight,
                )
            )
        assert all(after <= before + 1e-12 for before, after in pairwise(values))
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-12)
        assert values[-1] == pytest.approx(case.optimum, abs=2e-3)

    def test_one_step_of_pgd_by_hand(self) -> None:
        probs = softmax(np.random.default_rng(1).normal(size=(6, 4)))
        labels = np.random.default_rng(2).dirichlet(np.ones(4), size=6)
        hits = (probs * labels).sum(axis=1, keepdims=True)
        prices = 3.0 * 0.25 / labels.mean(axis=0)
        expected = project_simplex_reference(labels + 7 / STEP_POINTS * (probs / hits + prices))
        assert pgd(probs, labels, 3.0, 7.0, 1)
        np.testing.assert_allclose(labels, expected, atol=1e-14)

    def test_long_steps_of_pgd_are_seen_to_diverge(self) -> None:
        probs = predictions(50, 20)
        assert not pgd(probs, probs.copy(), 100.0, 1000.0, 50)

    @pytest.mark.parametrize("scale", [0.1, 1.0, 1e6])
    def test_projection(self, scale: float) -> None:
        points = scale * np.random.default_rng(0).normal(size=(50, 7))
        nearest = np.empty_like(points)
        for point, row in zip(points, nearest, strict=True):
            project(point, row)
        np.testing.assert_allclose(nearest, project_simplex_reference(points), atol=1e-15 * scale + 1e-15)


class TestRace:
    def test_everyone_who_can_takes_part(self) -> None:
        names = [contender.facts["contender"] for contender in contenders(20)]
        assert len(set(names)) == len(names)
        able = {name for name, solver in SOLVERS.items() if "cce_plus" in solver.abilities["host"].objectives}
        assert set(names) >= able | {"auto", "paper's EM", "paper's PGD, η1", "paper's PGD, η3"}
        assert "mirror" not in names
        steps = [racer.facts["step"] for racer in contenders(2) if "step" in racer.facts]
        assert steps == [1, 10, 20]

    def test_a_baseline_that_fails_is_told_from_one_that_is_slow(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        problem = make_problem(predictions(60, 5))

        def race(advance: Any, cell: float) -> Any:
            facts = {"contender": "it", "kind": "paper", "threads": 1}
            return Baseline(facts, advance).race(problem, (1e-9,), Budget(cell, 0.001), True)

        [arrival], trace = race(lambda problem, labels, n: False, 0.1)
        assert (arrival.status, arrival.gap, trace) == ("diverged", None, [])
        [arrival], trace = race(lambda problem, labels, n: True, 0.1)
        assert arrival.status == "stalled"
        assert arrival.gap == certified_gap(problem, problem.probs, "cce_plus") == trace[-1][1]

        def one_step(problem: Problem, labels: np.ndarray, n: int) -> bool:
            return bool(paper_em(problem.probs, labels, problem.prior, problem.fairness_weight, 1))

        monkeypatch.setattr(pseudo_label_race, "PATIENCE", 10.0)
        [arrival], trace = race(one_step, 0.002)
        assert arrival.status == "time limit" and arrival.gap == trace[-1][1]

    def test_labels_of_every_contender_have_the_gap_they_are_timed_for(self) -> None:
        problem = make_problem(predictions(60, 5))
        for contender in contenders(5):
            arrivals, trace = contender.race(problem, (1e-1, 1e-2), Budget(2.0, 0.001), True)
            for arrival in arrivals:
                assert (arrival.status == "reached") == (
                    arrival.gap is not None and arrival.gap <= arrival.target
                )
            assert all(gap >= 0 and seconds > 0 for seconds, gap in trace)
            if contender.facts["contender"] in {"em", "auto", "paper's EM"}:
                assert [arrival.status for arrival in arrivals] == ["reached"] * 2

    def test_the_median_counts_a_first_call(self) -> None:
        calls: list[None] = []
        assert median_seconds(lambda: calls.append(None), 1.0, first=2.0) == 2.0
        assert not calls
        assert median_seconds(lambda: calls.append(None), 1.0, most=5) > 0
        assert len(calls) == 5


class TestReport:
    @pytest.fixture(scope="class")
    def report(self) -> dict[str, Any]:
        lines: list[str] = []
        report = run_benchmark(TINY, quick=True, progress=lines.append)
        assert len(lines) == len(report["cells"]) + 2
        return json.loads(json.dumps(report, allow_nan=False))

    def test_ctrl_c_keeps_what_was_measured(self) -> None:
        def interrupt_the_third(text: str) -> None:
            if text.startswith("3/"):
                raise KeyboardInterrupt

        report = run_benchmark(TINY, quick=True, progress=interrupt_the_third)
        assert len(report["cells"]) == 3 < report["races"]
        shown = page(report)
        assert f"Interrupted: 3 of {report['races']} races were run." in shown and "not run" not in shown

    def test_keys(self, report: dict[str, Any]) -> None:
        assert set(report) == {
            *(
                "benchmark",
                "quick",
                "facts",
                "plan",
                "races",
                "cells",
                "kernel",
                "kernel_work",
                "plain_loop",
                "seconds",
            ),
        }
        assert set(report["facts"]) >= {
            "commit",
            "date",
            "device",
            "cores",
            "threads",
            "python",
            "numba",
            "torch",
        }
        for cell in report["cells"]:
            assert set(cell) >= {
                "contender",
                "kind",
                "threads",
                "num_points",
                "num_clusters",
                "fairness_weight",
            }
            assert [arrival["target"] for arrival in cell["arrivals"]] == [1e-1, 1e-2]
            for arrival in cell["arrivals"]:
                assert set(arrival) == {"target", "status", "seconds", "iterations", "gap"}
            assert cell["trace"]
        for rate in report["kernel"]:
            assert rate["fraction"] == pytest.approx(
                rate["iterations_per_second"] / min(rate["limits"].values())
            )
        assert [ratio["dtype"] for ratio in report["plain_loop"]] == ["float32", "float64"]

    def test_tables_are_rectangular(self, report: dict[str, Any]) -> None:
        for table in tables(report):
            assert table.rows
            assert {len(row) for row in table.rows} == {len(table.headings)}

    def test_files(self, report: dict[str, Any], tmp_path: Path) -> None:
        data, page, picture = write_report(report, tmp_path)
        assert json.loads(data.read_text()) == report
        assert picture.read_bytes().startswith(b"\x89PNG")
        text = page.read_text()
        assert report["facts"]["device"] in text
        assert "| paper's EM |" in text

    def test_numbers_are_readable(self) -> None:
        assert [duration(s) for s in (12.345, 0.0123, 4.5e-6, 3e-9)] == [
            "12.3 s",
            "12.3 ms",
            "4.50 µs",
            "3 ns",
        ]
        assert [short(gap) for gap in (1e-3, 0.0237, 3.0)] == ["1e-3", "2.4e-2", "3e0"]


def test_machine_rates_are_numbers() -> None:
    """Positive and finite; how large they are, benchmarks show."""
    for dtype in (np.float32, np.float64):
        rates = machine_rates(dtype, 5000, 0.01)
        assert set(rates) == {"bytes_per_second", "divisions_per_second", "multiply_adds_per_second"}
        assert all(rate > 0 and math.isfinite(rate) for rate in rates.values())


def test_a_bad_output_is_one_line_before_anything_is_measured(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "cce_ray.cli", "bench", "pseudo-labels", "-o", str(taken)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(taken) in done.stderr
    assert not done.stdout
