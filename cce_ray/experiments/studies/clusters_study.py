"""How many clusters? More than there are classes, and merged afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cce_ray.config import RunConfig
from cce_ray.data import load_dataset
from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.data_columns import features
from cce_ray.experiments.grid.grid import Grid, Quick, Row
from cce_ray.metrics import hungarian_accuracy, merge_clusters
from cce_ray.runs import CLUSTERS_FILE
from cce_ray.training import standardized

_COUNTS = (5, 10, 15, 20, 40)
CLASSES = 10


def merged(config: RunConfig, folder: Path) -> Mapping[str, float]:
    """Accuracy after the clusters of a seed are merged to as many as there are classes, if they are more."""
    clusters = np.load(folder / CLUSTERS_FILE, allow_pickle=False)
    dataset = load_dataset(config.data)
    assert dataset.labels is not None
    rows = dataset.evaluation_indices
    used, found = np.unique(clusters, return_inverse=True)
    if len(used) > CLASSES:
        found = merge_clusters(standardized(dataset.samples.read(rows)), clusters, CLASSES)
    return {"merged": hungarian_accuracy(dataset.labels[rows], found, CLASSES)}


run = Grid(
    title="The number of clusters, and merging",
    text="""
    The built-in run `features` on ResNet-50 features of ten classes, with K from 5 to 40. Accuracy matches
    each class with one cluster, so that K beyond ten cannot reach 100 %; NMI does not. After merging: the
    clusters' means on the standardised features are merged by average linkage to ten, if there are more. The
    settings were searched for K = 10 on CIFAR10's features.
    """,
    rows={str(count): Row(f"K = {count}", {"data.num_clusters": count}) for count in _COUNTS},
    columns=features("cifar10", "mnist"),
    cell=lambda row, column: Cell("features"),
    seeds=3,
    quick=Quick(rows=["10", "20"], changes={"data.limit": 2000, "optimizer.epochs": 5}),
    scores={"accuracy": "Accuracy", "merged": "Accuracy after merging to ten", "nmi": "NMI", "ari": "ARI"},
    measure=merged,
).run
