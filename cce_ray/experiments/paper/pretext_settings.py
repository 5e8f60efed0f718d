"""The paper's settings for ResNet-18 from pretext weights (Table 4, §10), and the files that hold these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cce_ray.experiments.experiment import Options
from cce_ray.experiments.grid.data_columns import images
from cce_ray.experiments.grid.grid import Column, Quick
from cce_ray.experiments.paper.vgg4_settings import PRESET

SETTINGS: dict[str, Any] = PRESET | {
    "model": "resnet18",
    "pseudo_labels.gap_tolerance": 0.01,
    "pseudo_labels.max_iterations": 1000,
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.05,
    "optimizer.backbone_learning_rate": 1e-5,
    "optimizer.weight_decay": 1e-4,
    "optimizer.schedule": "constant",
    "optimizer.warmup": 0.0,
    "optimizer.epochs": 50,
    "optimizer.batch_size": 200,
}
VIEW_WEIGHTS = {"stl10": 0.5, "cifar10": 0.2, "cifar100_20": 0.4}
"""The weight of the augmented view, by data set."""
SMALL = {"data.limit": 2000, "optimizer.epochs": 2}
QUICK = Quick(seeds=2, changes=SMALL)
MADE_BY = """
    The weights are `simclr_SET.pt` in the data folder, from `cce train RUN --set method=simclr --set
    model=resnet18` on the same images; the neighbours of SCAN are sought in `simclr_SET.parquet`, from
    `cce embed SET --backbone simclr_SET.pt`. The paper takes SCAN's published weights.
"""


def pretext(*names: str) -> dict[str, Column]:
    """{set: column} of the images, with a ResNet-18 that starts from `simclr_SET.pt`."""
    return {name: _with_weights(name, column) for name, column in images(*names).items()}


def _with_weights(name: str, column: Column) -> Column:
    file = f"simclr_{name}.pt"

    def changes(options: Options) -> Mapping[str, Any]:
        return {**column.changes(options), "model.weights": str(options.data / file)}

    return Column(column.title, changes, [*column.needs, file, f"simclr_{name}.parquet"])
