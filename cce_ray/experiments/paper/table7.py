"""Table 7: the fairness terms of (10) and (11), VGG-4 from scratch."""

from __future__ import annotations

from cce_ray.experiments.grid.data_columns import images
from cce_ray.experiments.grid.grid import Grid, Row
from cce_ray.experiments.paper.published import published
from cce_ray.experiments.paper.vgg4_settings import LAMBDA, METHODS, QUICK, VIEW, cell

run = Grid(
    title="Table 7: loss (10) against loss (11), VGG-4 from scratch",
    text="""
    The settings of Table 3 with both fairness terms: λ KL(ȳ‖u), loss (10), and λ KL(u‖ȳ), loss (11). Meant
    for a GPU.
    """,
    rows={
        "cce": Row("loss (10), cce", {"method": "cce", **LAMBDA, **VIEW}),
        "cce_plus": METHODS["cce_plus"],
    },
    columns=images("stl10", "cifar10", "cifar100_20", "mnist"),
    cell=cell,
    quick=QUICK,
    paper=published("table7"),
).run
