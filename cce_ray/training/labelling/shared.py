"""The labels of a batch by EM that the ranks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor

from cce_ray.config import RunConfig
from cce_ray.data import to_device
from cce_ray.models import Classifier
from cce_ray.pseudo_labels import group_range
from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled
from cce_ray.training.labelling.held_rows import OwnRows, estimate_by_ranks
from cce_ray.training.labelling.judging import judged
from cce_ray.training.ranks import Ranks


@final
class SharedLabeller:
    """The labels of the batch by EM that the ranks share: each iterates its groups of rows, and only
    K-vectors travel in an iteration. The bits are those of `InlineLabeller`."""

    within_epochs = True

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        self._method, self._settings, self._ranks = config.method, config.pseudo_labels, ranks

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Nothing to do."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """All work is done at the end, by all ranks."""

        def finish() -> Labelled:
            batch.settle()
            labels, progress = self.estimate(batch.probs.numpy(), prior)
            estimated = judged(
                self._method, self._settings, batch.probs.numpy(), prior, labels.numpy(), progress
            )
            return estimated, to_device(labels[batch.own], batch.predicted.device)

        return finish

    def estimate(self, probs: np.ndarray, prior: np.ndarray | None) -> tuple[Tensor, tuple[int, float]]:
        """y (B, K) of predictions that all ranks have, and (iterations, last change)."""
        points, clusters = probs.shape
        ranges = [group_range(points, rank, self._ranks.size) for rank in range(self._ranks.size)]
        first, last = ranges[self._ranks.rank]
        weight = self._method.objective_terms["fairness_weight"]
        held = OwnRows([probs[first:last]], first, points, weight) if first < last else None
        found = estimate_by_ranks(held, points, clusters, self._method, self._settings, prior, self._ranks)
        own = held.finish()[0] if held else np.empty((0, clusters), probs.dtype)
        labels = self._ranks.gather(torch.from_numpy(own), [last - first for first, last in ranges])
        return labels, (found.iterations, found.change)
