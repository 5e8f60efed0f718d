"""The paper's settings for VGG-4 from scratch (Table 3, §10): what its tables of images share."""

from __future__ import annotations

from typing import Any

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.grid import Quick, Row

PRESET = {f"augmentation.{name}": None for name in ("rotation", "scale", "shift", "shear", "noise")}
"""The data set's own strengths, where the run that is changed has some of its own."""
SETTINGS: dict[str, Any] = PRESET | {
    "model": "vgg4",
    "pseudo_labels.gap_tolerance": 0.01,
    "pseudo_labels.max_iterations": 1000,
    "optimizer.name": "adam",
    "optimizer.learning_rate": 1e-4,
    "optimizer.weight_decay": 0.01,
    "optimizer.schedule": "constant",
    "optimizer.warmup": 0.0,
    "optimizer.epochs": 50,
    "optimizer.batch_size": 250,
}
QUICK = Quick(seeds=2, changes={"data.limit": 2000, "optimizer.epochs": 10})
VIEW = {"method.augmentation_weight": 1.0}
LAMBDA = {"method.fairness_weight": 100.0}
METHODS = {
    "imsat": Row("IMSAT, augmentation", {"method": "imsat", "method.consistency": "augmentation"}),
    "iic": Row("IIC, 50 finer clusters beside", {"method": "iic", "method.over_clusters": 50}),
    "sela": Row("SeLa", {"method": "sela", **VIEW}),
    "miadm": Row("MIADM", {"method": "miadm", "method.fairness_weight": 1.0, **VIEW}),
    "cce_plus": Row("CCE+, loss (11)", {"method": "cce_plus", **LAMBDA, **VIEW}),
}
"""The rows of Tables 3 and 5."""


def cell(row: str, column: str) -> Cell:
    """The batches of STL10 are smaller."""
    return Cell("digits", SETTINGS | ({"optimizer.batch_size": 160} if column == "stl10" else {}))
