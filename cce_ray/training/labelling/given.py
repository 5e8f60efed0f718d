"""Labels that are known beforehand: learning from targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
import torch

from cce_ray.data import to_device
from cce_ray.models import Classifier
from cce_ray.pseudo_labels import PseudoLabels
from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled


@final
class GivenLabels:
    """Labels that are known beforehand, soft or not: learning from targets."""

    within_epochs = True

    def __init__(self, targets: np.ndarray) -> None:
        self._targets = torch.from_numpy(targets)

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Nothing to do."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """The rows of the batch."""

        def finish() -> Labelled:
            labels = self._targets[batch.indices]
            unknown = float("nan")
            whole = PseudoLabels(labels, lambda: unknown, lambda: unknown, (0, 0.0), lambda: "tolerance")
            return whole, to_device(labels[batch.own], batch.predicted.device)

        return finish
