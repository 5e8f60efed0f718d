"""Table 4: ResNet-18 from pretext weights, trained on images."""

from __future__ import annotations

from typing import Any

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.grid import Grid, Quick, Row
from cce_ray.experiments.paper.pretext_settings import MADE_BY, SETTINGS, SMALL, VIEW_WEIGHTS, pretext
from cce_ray.experiments.paper.published import published

ROWS = {
    "scan": Row("SCAN", {"method": "scan", "method.self_labelling": 0.5}),
    "imsat": Row("IMSAT, augmentation", {"method": "imsat", "method.consistency": "augmentation"}),
    "miadm": Row("MIADM", {"method": "miadm", "method.fairness_weight": 1.0}),
    "cce_plus": Row("CCE+, loss (11)", {"method": "cce_plus", "method.fairness_weight": 100.0}),
}


def cell(row: str, column: str) -> Cell:
    """The augmented view has the weight that the paper names for the data set."""
    own: dict[str, Any] = {}
    if row == "scan":
        own["method.embedding"] = f"$CCE_DATA/simclr_{column}.parquet"
    elif row in ("miadm", "cce_plus"):
        own["method.augmentation_weight"] = VIEW_WEIGHTS[column]
    return Cell("digits", SETTINGS | own)


run = Grid(
    title="Table 4: ResNet-18 from pretext weights",
    text=f"""
    Adam with learning rate 0.05 for the head and 1e-5 for the backbone, weight decay 1e-4, batches of 200, 50
    epochs, λ = 100, one augmented copy of each image: the paper's settings. Meant for a GPU.
    {MADE_BY.strip()}
    """,
    rows=ROWS,
    columns=pretext("cifar10", "cifar100_20", "stl10"),
    cell=cell,
    # Without SCAN: the rows of its embedding are those of the whole set.
    quick=Quick(seeds=2, rows=["imsat", "miadm", "cce_plus"], changes=SMALL),
    scores={"accuracy": "ACC", "nmi": "NMI", "ari": "ARI"},
    paper=published("table4", scores=("accuracy", "nmi", "ari")),
).run
