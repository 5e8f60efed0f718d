"""What a search maximises: one fixed number a trial, and what decides among the finalists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cce_ray.metrics import FEW_USED

Criteria = Mapping[str, float]
"""What is known of a labelling: `generalization`, `silhouette`, `mutual_information`, `confidence`, `loss`,
`used` (clusters in use), `clusters` (K); with labels `accuracy`, `nmi`, `ari`; with several seeds
`stability`."""

_LOWEST_LOSS_VALUE = -1e6


@dataclass(frozen=True)
class Objective:
    """How trials are scored and finalists ranked."""

    searched: str
    """The criterion that the searcher and the scheduler see."""
    deciding: tuple[str, ...]
    """Among the finalists: the criteria whose product counts."""
    needs_labels: bool = False
    meaning: str = ""


OBJECTIVES = {
    "combined": Objective(
        "generalization",
        ("generalization", "stability"),
        meaning="generalization during the search; generalization times stability among the finalists. Needs "
        "no labels",
    ),
    "generalization": Objective(
        "generalization",
        ("generalization",),
        meaning="how well a linear probe finds the clusters of held-out points again, in a fixed embedding",
    ),
    "silhouette": Objective(
        "silhouette", ("silhouette",), meaning="the silhouette coefficient in a fixed embedding"
    ),
    "stability": Objective(
        "generalization",
        ("stability",),
        meaning="generalization during the search; agreement (adjusted Rand index) of the seeds among the "
        "finalists",
    ),
    "loss": Objective("loss", ("loss",), meaning="the training loss; comparable only at one λ"),
    "accuracy": Objective("accuracy", ("accuracy",), needs_labels=True, meaning="Hungarian accuracy"),
    "nmi": Objective("nmi", ("nmi",), needs_labels=True, meaning="normalised mutual information"),
    "ari": Objective("ari", ("ari",), needs_labels=True, meaning="adjusted Rand index"),
}
"""By name; the first is the default."""


def collapsed(criteria: Criteria) -> bool:
    """Whether at most half of the clusters are in use."""
    return criteria["used"] <= FEW_USED * criteria["clusters"]


def value_of(criterion: str, criteria: Criteria) -> float:
    """One criterion as a number to maximise, finite whatever happened.

    Criteria without labels are gated: times the share of clusters in use, and the worst value for a collapse
    (a two-cluster labelling is easily predicted, and perfectly stable).
    """
    if criterion == "loss":
        loss = criteria.get("loss", np.inf)
        return float(-loss) if np.isfinite(loss) and not collapsed(criteria) else _LOWEST_LOSS_VALUE
    raw = criteria.get(criterion, np.nan)
    if not np.isfinite(raw):
        return worst(criterion)
    if criterion in ("accuracy", "nmi", "ari"):
        return float(raw)
    if collapsed(criteria):
        return worst(criterion)
    share = criteria["used"] / criteria["clusters"]
    return float((raw + 1) / 2 * share) if criterion == "silhouette" else float(raw * share)


def worst(criterion: str) -> float:
    """The value of a trial that diverged or collapsed: below all others, and finite, for a sampler cannot
    learn from NaN."""
    return _LOWEST_LOSS_VALUE if criterion == "loss" else 0.0 if criterion != "ari" else -1.0


def merit(criteria: Criteria, deciding: Sequence[str]) -> float:
    """What decides among the finalists: the product of the deciding criteria, each gated on used clusters.

    A product of generalization and stability beat each of them, silhouette, mutual information and the sum of
    all their ranks over five data sets (docs/criteria.md), and, unlike ranks, owes nothing to the others.
    """
    return math.prod(value_of(name, criteria) for name in deciding)
