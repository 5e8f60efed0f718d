"""Table 6: the fairness terms of (10) and (11), a linear classifier on fixed features."""

from __future__ import annotations

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.data_columns import features
from cce_ray.experiments.grid.grid import Grid, Quick, Row
from cce_ray.experiments.paper.published import published

run = Grid(
    title="Table 6: loss (10) against loss (11), fixed features",
    text="""
    Collision cross-entropy with λ KL(ȳ‖u), loss (10), whose pseudo-labels take projected gradients, against
    λ KL(u‖ȳ), loss (11), for which the paper derives EM: a linear classifier on ResNet-50 features. The
    paper finds no difference, and keeps the one that is faster to solve.

    Both rows are the built-in run `features`, in which only the method was changed: λ = 25 (the paper: 100),
    20 epochs (10), pseudo-labels to a certified gap of 1e-2, standardised features of another ResNet-50 than
    the paper's, of each set's 10,000 test images.
    """,
    rows={
        "cce": Row("loss (10), cce", {"method": "cce"}),
        "cce_plus": Row("loss (11), cce_plus", {"method": "cce_plus"}),
    },
    columns=features("stl10", "cifar10", "cifar100_20", "mnist"),
    cell=lambda row, column: Cell("features"),
    quick=Quick(changes={"data.limit": 2000, "optimizer.epochs": 5}),
    paper=published("table6"),
).run
