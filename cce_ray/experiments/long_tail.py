"""Unequal clusters: exponentially imbalanced data, and what the options of the prior buy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cce_ray.atomic import replacing
from cce_ray.experiments.cell import Cell
from cce_ray.experiments.experiment import Options
from cce_ray.experiments.grid import Column, Grid, Quick, Row

RATIOS = (1, 10, 50)
SETS = {"cifar10": "CIFAR10", "mnist": "MNIST"}
ESTIMATE = {"pseudo_labels.prior": "estimate"}


def tailed(labels: np.ndarray, ratio: float, seed: int = 0) -> np.ndarray:
    """Ascending rows of a subset in which class k of K keeps ratio^(-k/(K-1)) of the smallest class's size.

    Args:
        labels: (N,) int64.
        ratio: size of the largest class over that of the smallest.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    random = np.random.default_rng(seed)
    kept = []
    for place, kind in enumerate(classes):
        count = round(sizes.min() * ratio ** (-place / (len(classes) - 1)))
        kept.append(random.permutation(np.flatnonzero(labels == kind))[: max(1, count)])
    return np.sort(np.concatenate(kept))


def imbalanced(source: Path, ratio: float, folder: Path) -> Path:
    """The subset of a feature file, written once."""
    target = folder / f"{source.stem}-{ratio:g}.npz"
    if not target.exists():
        with np.load(source, allow_pickle=False) as stored:
            labels = stored["labels"]
            features = stored["features"]
        rows = tailed(labels, ratio)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary, temporary.open("wb") as file:
            np.savez(file, features=features[rows], labels=labels[rows])
    return target


def column(name: str, ratio: int) -> Column:
    """A feature set at one ratio."""
    file = f"{name}_test_resnet50.npz"

    def changes(options: Options) -> Mapping[str, Any]:
        source = options.data / file
        path = source if ratio == 1 else imbalanced(source, ratio, options.work / "data")
        return {"data": "arrays", "data.path": str(path)}

    return Column(f"{SETS[name]} {ratio}:1", changes, [file])


run = Grid(
    title="Long tails: exponentially imbalanced feature sets",
    text="""
    ResNet-50 features of the test images of CIFAR10 and MNIST, of which class k of ten keeps ratio^(-k/9) of
    its images (seed 0), so that the largest class is `ratio` times the smallest. The built-in run `features`
    with several ways to say what shares the clusters should have: the uniform prior, a slack within which a
    share is free (`pseudo_labels.prior_slack`), and a prior estimated on the way (`pseudo_labels.prior`).
    Accuracy is that of all samples, so the large classes weigh most; NMI and ARI beside it. The settings are
    those searched on the balanced CIFAR10 features; none was searched again.
    """,
    rows={
        "kmeans": Row("k-means", {"method": "kmeans"}),
        "uniform": Row("CCE+, uniform prior", {"method": "cce_plus"}),
        "slack": Row("CCE+, slack 0.5", {"method": "cce_plus", "pseudo_labels.prior_slack": 0.5}),
        "estimate": Row("CCE+, estimated prior", {"method": "cce_plus", **ESTIMATE}),
        "shannon": Row("shannon, uniform prior", {"method": "shannon"}),
        "shannon-estimate": Row("shannon, estimated prior", {"method": "shannon", **ESTIMATE}),
    },
    columns={f"{name}-{ratio}": column(name, ratio) for name in SETS for ratio in RATIOS},
    cell=lambda row, column: Cell("features", {"optimizer.batch_size": 125}),
    seeds=3,
    quick=Quick(rows=["kmeans", "uniform", "estimate"], columns=["cifar10-1", "cifar10-10"]),
    scores={"accuracy": "Accuracy", "nmi": "NMI", "ari": "ARI"},
).run
