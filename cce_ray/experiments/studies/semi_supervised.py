"""Semi-supervised clustering on MNIST: what the unlabelled images add to a few labels."""

from __future__ import annotations

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.data_columns import images
from cce_ray.experiments.grid.grid import Grid, Quick, Row
from cce_ray.experiments.grid.label_ratios import with_ratios

RATIOS = (0.05, 0.01, 0.005)
WEIGHTS = {"method.fairness_weight": 20.0, "method.augmentation_weight": 1.0}
METHODS = {
    "seeds_only": Row("only seeds", {"method": "seeds_only"}),
    "cce_plus": Row("CCE+", {"method": "cce_plus", **WEIGHTS}),
}
SETTINGS = {
    "data.limit": 10000,
    "model": "cnn",
    "optimizer.learning_rate": 0.003,
    "optimizer.epochs": 5,
    "optimizer.batch_size": 250,
}


def cell(row: str, column: str) -> Cell:
    """The same settings for both."""
    return Cell("digits", SETTINGS)


run = Grid(
    title="Semi-supervised clustering of MNIST",
    text="""
    10,000 images of MNIST, some of which (drawn class by class) come with their labels: their cross-entropy
    has weight 2 and their pseudo-labels are clamped. Every step adds 32 images with known labels to its
    batch, the same number whatever the method, augmented as in the run `digits`; "only seeds" learns from
    these alone. A network of 3x3 convolutions (`cnn`), 5 epochs. Accuracy, after matching, on all 10,000
    images, labelled ones included. Both methods have the same settings; none was searched on these images,
    augmentation, weight decay and schedule are those that were searched for the run `digits` on
    scikit-learn's.

    The paper's Table 5 is of STL10 and CIFAR10 (`table5`); it has no such table of MNIST.
    """,
    rows=with_ratios(METHODS, RATIOS),
    columns=images("mnist"),
    cell=cell,
    seeds=3,
    quick=Quick(changes={"data.limit": 2000, "optimizer.epochs": 3}),
).run
