"""Table 5: a few labels, VGG-4 from scratch (the arXiv version's)."""

from __future__ import annotations

from cce_ray.experiments.grid.data_columns import images
from cce_ray.experiments.grid.grid import Grid, Row
from cce_ray.experiments.grid.label_ratios import with_ratios
from cce_ray.experiments.paper.published import published
from cce_ray.experiments.paper.vgg4_settings import METHODS, QUICK, cell

RATIOS = (0.1, 0.05, 0.01)
BOTH = {"seeds_only": Row("only seeds", {"method": "seeds_only"}), **METHODS}

run = Grid(
    title="Table 5: semi-supervised, from scratch",
    text="""
    The settings of Table 3, and the labels of a share of the images, drawn class by class: their
    cross-entropy joins the loss with weight 2, and their pseudo-labels are clamped. Accuracy on all images,
    labelled ones included. Meant for a GPU.

    The other version's table starts from pretext weights: `table5_pretrained`.
    """,
    rows=with_ratios(BOTH, RATIOS),
    columns=images("stl10", "cifar10"),
    cell=cell,
    quick=QUICK,
    paper=published("table5_from_scratch", columns=("stl10", "cifar10")),
).run
