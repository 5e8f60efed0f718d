"""The labels of a batch on this process's own time."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np

from cce_ray.config import RunConfig
from cce_ray.data import to_device
from cce_ray.models import Classifier
from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled


@final
class InlineLabeller:
    """The labels of the batch, or of this rank's rows alone, on this process's own time."""

    within_epochs = True

    def __init__(self, config: RunConfig) -> None:
        self._method, self._settings = config.method, config.pseudo_labels

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Nothing to do."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """All work is done at the end: a GPU computes the augmented view meanwhile."""

        def finish() -> Labelled:
            batch.settle()
            on_device = self._settings.on_device(batch.predicted, self._method.objective)
            source = batch.predicted if on_device else batch.probs
            rows = batch.own if self._settings.scope == "rank" else slice(None)
            known = None if batch.known is None else batch.known[rows]
            estimated = self._method.labels(source[rows], self._settings, known, prior)
            own = slice(None) if self._settings.scope == "rank" else batch.own
            return estimated, to_device(estimated.labels[own], batch.predicted.device)

        return finish
