"""What is known of an epoch while it runs: mean losses, predictions, used clusters, label churn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cce_ray.metrics import cluster_sizes, clustering_scores, label_churn, used_clusters


class EpochWatch:
    """Running sums over the batches of one epoch, and each sample's predicted cluster.

    Sums of losses stay on the device until somebody reads them, so that watching costs no synchronisation.
    """

    def __init__(self, num_samples: int, num_clusters: int) -> None:
        self.num_clusters = num_clusters
        self.predictions = np.full(num_samples, -1, np.int64)
        self.previous: np.ndarray | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the sums, keep the predictions."""
        self.sums: dict[str, Tensor] = {}
        self.em_iterations: int | Tensor = 0
        self.samples, self.confidence, self.batches = 0, 0.0, 0

    def add(
        self, indices: np.ndarray, probs: np.ndarray, parts: Mapping[str, Tensor], iterations: int | Tensor
    ) -> None:
        """Count one batch: sample indices (B,), predictions (B, K) on the host, parts of the loss, iterations
        of the pseudo-labels (where a device did them, a tensor there)."""
        size = len(indices)
        for name, value in parts.items():
            weighted = value.detach().double() * size
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
        self.samples += size
        self.batches += 1
        self.em_iterations += iterations
        self.predictions[indices] = probs.argmax(1)
        self.confidence += float(probs.max(1).sum(dtype=np.float64))

    def running(self) -> dict[str, float]:
        """Means so far, and the clusters used by the latest prediction of every sample seen."""
        losses = {f"loss/{name}": float(value) / self.samples for name, value in self.sums.items()}
        seen = self.predictions[self.predictions >= 0]
        return {
            "loss/total": sum(losses.values()),
            **losses,
            "em/iterations": float(self.em_iterations) / max(1, self.batches),
            "confidence/mean": self.confidence / max(1, self.samples),
            "clusters/used": float(used_clusters(cluster_sizes(seen, self.num_clusters))),
        }

    def finish(self, labels: np.ndarray | None) -> dict[str, float]:
        """The epoch's metrics; the next starts from zero. `train/*` scores the epoch's own predictions."""
        metrics = self.running()
        seen = self.predictions >= 0
        if self.previous is not None:
            metrics["labels/churn"] = label_churn(self.previous[seen], self.predictions[seen])
        if labels is not None:
            scores = clustering_scores(labels[seen], self.predictions[seen], self.num_clusters)
            metrics |= {f"train/{name}": value for name, value in scores.items()}
        self.previous = self.predictions.copy()
        self.clear()
        return metrics

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {
            "sums": {name: value.cpu() for name, value in self.sums.items()},
            "counts": [self.samples, self.confidence, int(self.em_iterations), self.batches],
            "predictions": torch.from_numpy(self.predictions.copy()),
            "previous": None if self.previous is None else torch.from_numpy(self.previous.copy()),
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from `state()`."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.samples, self.confidence, self.em_iterations, self.batches = state["counts"]
        self.predictions = state["predictions"].numpy().copy()
        self.previous = None if state["previous"] is None else state["previous"].numpy().copy()
