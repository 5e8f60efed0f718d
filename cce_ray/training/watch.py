"""What is known of an epoch while it runs: mean losses, predictions, used clusters, label churn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cce_ray.metrics import cluster_sizes, clustering_scores, label_churn, used_clusters
from cce_ray.training.ranks import Alone, Ranks


class EpochWatch:
    """Running sums over the batches of one epoch, and each sample's predicted cluster.

    Predictions are those of all ranks; sums of losses are of this rank's samples until the epoch ends. They
    stay on the device until somebody reads them, so that watching costs no synchronisation.
    """

    def __init__(self, num_samples: int, num_clusters: int, ranks: Ranks | None = None) -> None:
        self.num_clusters = num_clusters
        self.ranks = ranks or Alone()
        self.predictions = np.full(num_samples, -1, np.int64)
        self.previous: np.ndarray | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the sums, keep the predictions."""
        self.sums: dict[str, Tensor] = {}
        self.em_iterations: int | Tensor = 0
        self.own_samples, self.samples, self.confidence, self.batches = 0, 0, 0.0, 0

    def add(
        self,
        indices: np.ndarray,
        probs: np.ndarray,
        parts: Mapping[str, Tensor],
        own_samples: int,
        iterations: int | Tensor,
    ) -> None:
        """Count one batch: sample indices (B,), predictions (B, K) on the host, parts of the loss as means
        over this rank's `own_samples` of them, iterations of the pseudo-labels (where a device did them, a
        tensor there)."""
        for name, value in parts.items():
            weighted = value.detach().double() * own_samples
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
        self.own_samples += own_samples
        self.samples += len(indices)
        self.batches += 1
        self.em_iterations += iterations
        self.predictions[indices] = probs.argmax(1)
        self.confidence += float(probs.max(1).sum(dtype=np.float64))

    def running(self) -> dict[str, float]:
        """Means so far, and the clusters used by the latest prediction of every sample seen. The losses are
        those of this rank."""
        return self._means({name: float(value) for name, value in self.sums.items()}, self.own_samples)

    def _means(self, sums: Mapping[str, float], samples: int) -> dict[str, float]:
        losses = {f"loss/{name}": value / samples for name, value in sums.items()}
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
        samples, *sums = self._all_sums().sum(dim=0).tolist()
        metrics = self._means(dict(zip(self.sums, sums, strict=True)), int(samples))
        seen = self.predictions >= 0
        if self.previous is not None:
            metrics["labels/churn"] = label_churn(self.previous[seen], self.predictions[seen])
        if labels is not None:
            scores = clustering_scores(labels[seen], self.predictions[seen], self.num_clusters)
            metrics |= {f"train/{name}": value for name, value in scores.items()}
        self.previous = self.predictions.copy()
        self.clear()
        return metrics

    def _all_sums(self) -> Tensor:
        """(ranks, 1 + parts) float64: samples, and the sum of each part of the loss over them."""
        own = torch.tensor([[self.own_samples, *map(float, self.sums.values())]], dtype=torch.float64)
        return self.ranks.gather(own, [1] * self.ranks.size)

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {
            "parts": list(self.sums),
            "sums": self._all_sums(),
            "counts": [self.samples, self.confidence, int(self.em_iterations), self.batches],
            "predictions": torch.from_numpy(self.predictions.copy()),
            "previous": None if self.previous is None else torch.from_numpy(self.previous.copy()),
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from `state()`; with another number of ranks, the first takes all sums over."""
        sums = state["sums"]
        if len(sums) != self.ranks.size:
            sums = torch.cat(
                [sums.sum(dim=0, keepdim=True), sums.new_zeros(self.ranks.size - 1, sums.shape[1])]
            )
        samples, *values = sums[self.ranks.rank]
        self.own_samples = int(samples)
        self.sums = {name: value.to(device) for name, value in zip(state["parts"], values, strict=True)}
        self.samples, self.confidence, self.em_iterations, self.batches = state["counts"]
        self.predictions = state["predictions"].numpy().copy()
        self.previous = None if state["previous"] is None else state["previous"].numpy().copy()
