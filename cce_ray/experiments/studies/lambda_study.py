"""How much does λ matter? Accuracy against the fairness weight, for collision and Shannon's cross-entropy."""

from __future__ import annotations

from dataclasses import replace

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.data_columns import features, images
from cce_ray.experiments.grid.grid import Grid, Quick, Results, Row
from cce_ray.experiments.line_picture import Lines, Point, line_picture

WEIGHTS = (1, 3, 10, 30, 100, 300)
METHODS = ("cce_plus", "shannon")
RUNS = {"cifar10": "features", "mnist": "features", "digits": "digits"}
COLUMNS = {
    name: replace(column, title=f"{column.title} features" if name in ("cifar10", "mnist") else "digits")
    for name, column in {**features("cifar10", "mnist"), **images("digits")}.items()
}
ROWS = {
    f"{method}-{weight}": Row(f"{method}, λ = {weight}", {"method": method, "method.fairness_weight": weight})
    for method in METHODS
    for weight in WEIGHTS
}


def lines(results: Results, column: str) -> Lines:
    """Accuracy in percent over λ, a line a method."""
    found: dict[str, list[Point]] = {}
    for (row, place), result in results.items():
        mean, sd = result.mean("accuracy"), result.sd("accuracy")
        if place == column and mean is not None:
            method, _, weight = row.partition("-")
            found.setdefault(method, []).append(Point(float(weight), 100 * mean, sd and 100 * sd))
    return found


def picture(results: Results) -> bytes:
    """A panel a data set that is there."""
    panels = {source.title: lines(results, column) for column, source in COLUMNS.items()}
    shown = {title: found for title, found in panels.items() if found}
    return line_picture(shown or panels, "λ", "accuracy, %", log=True)


run = Grid(
    title="Accuracy against λ",
    text="""
    The weight λ of the fairness term, for `cce_plus` (loss (11)) and `shannon` (loss (5) with weight λ), in
    the built-in runs `features` (ResNet-50 features of CIFAR10's and MNIST's test images, a linear
    classifier) and `digits` (a small convolutional network from pixels). All other settings are those that
    were searched for `cce_plus` at λ = 25 (`features`) and λ = 53 (`digits`), the stopping rule of the
    pseudo-labels among them: a method whose own best lies elsewhere is shown below it. The paper uses λ =
    100 throughout and has no such study.
    """,
    rows=ROWS,
    columns=COLUMNS,
    cell=lambda row, column: Cell(RUNS[column]),
    seeds=3,
    quick=Quick(
        rows=[f"{method}-{weight}" for method in METHODS for weight in (1, 30)],
        changes={"data.limit": 1000, "optimizer.epochs": 5},
    ),
    picture=picture,
    caption="Accuracy against λ, a panel a data set, a line a method",
).run
