"""Whoever estimates the pseudo-labels of one batch after another: the interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from cce_ray.models import Classifier
from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled


class Labeller(Protocol):
    """Estimates pseudo-labels for one batch after another."""

    within_epochs: bool
    """Whether the labels depend on nothing before the batch, so that an epoch can be resumed inside."""

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Before the first batch of an epoch, with the network as it stands."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """Begin; what is returned ends it. Between the two the caller may do something else."""
