"""Scores of a trial: criteria of its labelling, in one embedding for all trials of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from cce_ray.data import Dataset
from cce_ray.metrics import (
    SharedSpace,
    chosen_points,
    cluster_sizes,
    clustering_scores,
    make_shared_space,
    mean_confidence,
    mutual_information,
    used_clusters,
)
from cce_ray.training import fixed_embedding
from cce_ray.tuning.objectives import value_of

VALUE = "objective/value"


@final
@dataclass(frozen=True)
class TrialJudge:
    """What the training loop asks at the epochs in which trials are compared."""

    space: SharedSpace
    labels: np.ndarray | None
    """(n,) int64 of the evaluation samples."""
    num_clusters: int
    criterion: str
    """Whose value the search maximises."""
    epochs: tuple[int, ...]

    def due(self, epoch: int) -> bool:
        """At these epochs."""
        return epoch in self.epochs

    def __call__(self, probs: np.ndarray, metrics: Mapping[str, float]) -> dict[str, float]:
        """objective/value, criteria/* and, with labels, score/*."""
        criteria = self.criteria(probs) | {"loss": metrics.get("loss/total", np.nan)}
        found = {VALUE: value_of(self.criterion, criteria)}
        for name, value in criteria.items():
            found[f"{'score' if name in ('accuracy', 'nmi', 'ari') else 'criteria'}/{name}"] = value
        return found

    def at_end(self) -> TrialJudge:
        """The same, asked once only."""
        return replace(self, epochs=self.epochs[-1:])

    def criteria(self, probs: np.ndarray) -> dict[str, float]:
        """All but the loss and the stability, from predictions (n, K)."""
        clusters = probs.argmax(1)
        known: dict[str, float] = {}
        if self.labels is not None:
            known = clustering_scores(self.labels, clusters, self.num_clusters)
        return {
            "generalization": self.space.generalization(clusters, self.num_clusters),
            "silhouette": self.space.silhouette(clusters),
            "mutual_information": mutual_information(probs),
            "confidence": mean_confidence(probs),
            "used": float(used_clusters(cluster_sizes(clusters, self.num_clusters))),
            "clusters": float(self.num_clusters),
            **known,
        }


def criteria_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The criteria among an epoch's metrics, by their short names."""
    return {
        key.partition("/")[2]: value
        for key, value in metrics.items()
        if key.startswith("criteria/") or key in ("score/accuracy", "score/nmi", "score/ari")
    }


def make_judge(
    dataset: Dataset, embedding: Path | None, criterion: str, epochs: tuple[int, ...]
) -> TrialJudge:
    """The judge of a data set's trials. ValueError, one line, for an embedding that does not fit."""
    indices = dataset.evaluation_indices
    labels = None if dataset.labels is None else dataset.labels[indices]
    return TrialJudge(_shared_space(dataset, embedding), labels, dataset.num_clusters, criterion, epochs)


def _shared_space(dataset: Dataset, embedding: Path | None) -> SharedSpace:
    """The space of the evaluation samples: the given embedding, the standardised input of embeddings, or
    principal components of the pixels."""
    rows = chosen_points(len(dataset.evaluation_indices))
    return make_shared_space(rows, fixed_embedding(dataset, dataset.evaluation_indices[rows], embedding))
