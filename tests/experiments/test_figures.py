"""Known answers of the figures, and of table 1's reading of a race."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.experiments.experiment import Options
from cce_ray.experiments.grid.cell import CellResult
from cce_ray.experiments.line_picture import Point, line_picture
from cce_ray.experiments.paper import figure1, figure3, table1
from cce_ray.experiments.solver_race.race import Budget
from cce_ray.experiments.studies import lambda_study
from cce_ray.runs import Listener

X = np.linspace(0, 1, 101)


class TestFigure1:
    def test_a_uniform_label_does_not_train(self) -> None:
        np.testing.assert_allclose(figure1.collision(0.5, X), math.log(2), atol=1e-15)

    @pytest.mark.parametrize("first", [0.9, 0.7])
    def test_collision_is_bounded_and_lowest_at_the_corner(self, first: float) -> None:
        curve = figure1.collision(first, X)
        assert curve[0] == pytest.approx(-math.log(1 - first)) and curve[-1] == pytest.approx(
            -math.log(first)
        )
        assert curve.argmin() == 100 and (np.diff(curve) < 0).all()

    @pytest.mark.parametrize("first", [0.9, 0.7, 0.5])
    def test_shannon_is_lowest_where_the_label_is_copied(self, first: float) -> None:
        curve = figure1.shannon(first, X)
        assert X[curve.argmin()] == pytest.approx(first)
        assert curve.min() == pytest.approx(-first * math.log(first) - (1 - first) * math.log(1 - first))
        assert np.isinf(curve[[0, -1]]).all()

    def test_the_table_and_the_picture(self, tmp_path: Path) -> None:
        outcome = figure1.run(Options(tmp_path, tmp_path), Listener())
        rows = outcome.tables[0].rows
        assert rows[4] == ["(0.5, 0.5)", "H₂ (9)", *["0.6931"] * 5, "everywhere"]
        assert rows[1][2] == rows[1][6] == "∞" and rows[1][-1] == "0.9"
        assert outcome.picture and outcome.picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("case", figure3.CASES, ids=lambda case: case.title[:3])
def test_the_m_step_has_the_root_that_newton_and_our_em_find(case: figure3.MStep) -> None:
    steps, y = case.newton(), case.solved()
    root = float(np.array(case.probs) @ y)
    assert case.left < case.start == steps[0] < root <= max(case.probs)
    assert np.all(np.diff(steps) > 0) and steps[-1] == pytest.approx(root, abs=1e-9)
    np.testing.assert_allclose(case.labels(np.array(root)), y, atol=1e-9)
    sums = case.labels(np.linspace(case.left, max(case.probs), 200)[1:]).sum(-1)
    assert (np.diff(sums) < 0).all() and (np.diff(sums, 2) > 0).all() and sums[-1] <= 1
    smallest = min(case.probs)
    assert (smallest > case.left) == case.title.startswith("(b)")
    if smallest > case.left:
        assert case.labels(np.array(smallest)).sum() >= 1 and root >= smallest


class TestTable1:
    @pytest.fixture(scope="class")
    def cells(self) -> list[dict[str, Any]]:
        plan = replace(table1.QUICK, clusters=(2,), budget=Budget(cell=0.3, repeats=0.001))
        return table1.measure(plan, Listener())

    def test_solvers_stand_beside_the_paper(self, cells: list[dict[str, Any]]) -> None:
        table = table1.beside_paper(cells)
        rows = {row[0]: row[1:] for row in table.rows}
        assert list(rows) == [
            *("paper's PGD, η1 = 1", "paper's PGD, η2 = 10", "paper's PGD, η3 = 20"),
            *("paper's EM", "em", "auto"),
        ]
        assert rows["paper's EM"][1::2] == ["1.8e-03", "25", "0.04"]
        assert rows["paper's PGD, η3 = 20"][1::2] == ["9.9e-04", "24", "0.02"]
        assert rows["auto"][1::2] == ["-"] * 3
        assert int(rows["paper's EM"][2]) == 20
        each, seconds = float(rows["paper's EM"][0]), float(rows["paper's EM"][4])
        assert 20 * each == pytest.approx(seconds, rel=0.1)

    def test_tables_are_rectangular(self, cells: list[dict[str, Any]]) -> None:
        twice = [*cells, *({**cell, "num_clusters": 20} for cell in cells)]
        for table in (table1.speed_ups(twice), table1.by_gap(twice), table1.beside_paper(cells)):
            assert {len(row) for row in table.rows} == {len(table.headings)}
        assert [row[-1] for row in table1.speed_ups(twice).rows] == ["0.5", "7.2"]

    def test_one_that_did_not_converge_says_so(self) -> None:
        arrivals = [
            {"target": target, "status": status, "seconds": 1.0, "iterations": 9, "gap": gap}
            for target, status, gap in (
                (1e-2, "reached", 5e-3),
                (1e-3, "time limit", 5e-3),
                (1e-4, "diverged", None),
            )
        ]
        cell = {"contender": "em", "num_clusters": 2, "fairness_weight": 1.0, "arrivals": arrivals}
        assert table1.numbers(cell) == ["1.1e-01", "not in 9", "(5e-3)"]
        assert table1.by_gap([cell]).rows == [["em", "9 in 1.00 s", "(5e-3)", "diverged"]]
        assert table1.speed_ups([cell]).rows[0][1:4] == ["-"] * 3


def test_a_line_picture_is_the_same_every_time() -> None:
    panels = {"one": {"a": [Point(1, 50, 2), Point(10, 60)]}, "none": {}}
    picture = line_picture(panels, "x", "y", log=True)
    assert picture.startswith(b"\x89PNG") and picture == line_picture(panels, "x", "y", log=True)


def test_the_lambda_study_draws_what_is_there() -> None:
    done = {
        (row, "digits"): CellResult(row, "digits", "done", per_seed={"accuracy": [0.5, 0.7]})
        for row in ("cce_plus-1", "cce_plus-30", "shannon-1")
    }
    absent = {("cce_plus-1", "mnist"): CellResult("cce_plus-1", "mnist", "absent", "no file")}
    found = lambda_study.lines({**done, **absent}, "digits")
    assert [point.x for point in found["cce_plus"]] == [1, 30]
    assert found["shannon"][0].mean == pytest.approx(60)
    assert not lambda_study.lines({**done, **absent}, "mnist")
    assert lambda_study.picture({**done, **absent}).startswith(b"\x89PNG")
