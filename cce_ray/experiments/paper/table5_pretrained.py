"""Table 5 of the NeurIPS version: a few labels, ResNet-18 from pretext weights."""

from __future__ import annotations

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.grid import Grid
from cce_ray.experiments.grid.label_ratios import with_ratios
from cce_ray.experiments.paper.pretext_settings import MADE_BY, QUICK, SETTINGS, VIEW_WEIGHTS, pretext
from cce_ray.experiments.paper.published import published
from cce_ray.experiments.paper.table5 import BOTH, RATIOS


def cell(row: str, column: str) -> Cell:
    """The augmented view has the weight that the paper names for the data set."""
    viewed = row.endswith(("sela", "miadm", "cce_plus"))
    weight = {"method.augmentation_weight": VIEW_WEIGHTS[column]} if viewed else {}
    return Cell("digits", SETTINGS | weight)


run = Grid(
    title="Table 5, semi-supervised, from pretext weights",
    text=f"""
    The settings of Table 4, and the labels of a share of the images, drawn class by class: their
    cross-entropy joins the loss with weight 2, and their pseudo-labels are clamped. Meant for a GPU.
    {MADE_BY.strip()}
    """,
    rows=with_ratios(BOTH, RATIOS),
    columns=pretext("stl10", "cifar10"),
    cell=cell,
    quick=QUICK,
    paper=published("table5_pretrained", columns=("stl10", "cifar10")),
).run
