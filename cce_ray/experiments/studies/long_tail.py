"""Unequal clusters: exponentially imbalanced data, and what the options of the prior buy."""

from __future__ import annotations

from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.data_columns import features
from cce_ray.experiments.grid.grid import Column, Grid, Quick, Row

RATIOS = (1, 10, 50)
SETS = ("cifar10", "mnist")
_ESTIMATE = {"pseudo_labels.prior": "estimate"}


def column(name: str, ratio: int) -> Column:
    """A feature set at one ratio; at 1 as it is."""
    source = features(name)[name]
    return Column(
        f"{source.title} {ratio}:1",
        lambda options: {**source.changes(options), "data.imbalance": ratio},
        source.needs,
    )


run = Grid(
    title="Long tails: exponentially imbalanced feature sets",
    text="""
    ResNet-50 features of the test images of CIFAR10 and MNIST, of which class k of ten keeps ratio^(-k/9) of
    the smallest class's number of images (`data.imbalance`), so that the first class is `ratio` times as
    large as the last; 1:1 are all images. The built-in run `features` with several ways to say what shares
    the clusters should have: the uniform prior, a slack within which a share is free
    (`pseudo_labels.prior_slack`), and a prior estimated on the way (`pseudo_labels.prior`). Accuracy is that
    of all samples, so the large classes weigh most; NMI and ARI beside it. The settings are those searched
    on the balanced CIFAR10 features; none was searched again.
    """,
    rows={
        "kmeans": Row("k-means", {"method": "kmeans"}),
        "uniform": Row("CCE+, uniform prior", {"method": "cce_plus"}),
        "slack": Row("CCE+, slack 0.5", {"method": "cce_plus", "pseudo_labels.prior_slack": 0.5}),
        "estimate": Row("CCE+, estimated prior", {"method": "cce_plus", **_ESTIMATE}),
        "shannon": Row("shannon, uniform prior", {"method": "shannon"}),
        "shannon-estimate": Row("shannon, estimated prior", {"method": "shannon", **_ESTIMATE}),
    },
    columns={f"{name}-{ratio}": column(name, ratio) for name in SETS for ratio in RATIOS},
    cell=lambda row, column: Cell("features", {"optimizer.batch_size": 125}),
    seeds=3,
    quick=Quick(rows=["kmeans", "uniform", "estimate"], columns=["cifar10-1", "cifar10-10"]),
    scores={"accuracy": "Accuracy", "nmi": "NMI", "ari": "ARI"},
).run
