"""The labels of a batch by a helper, concurrently with the augmented view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np

from cce_ray.config import RunConfig
from cce_ray.data import as_tensor, to_device
from cce_ray.methods import labels_of
from cce_ray.models import Classifier
from cce_ray.training.context import Answer, Helper
from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled
from cce_ray.training.labelling.judging import judged


@final
class HelperLabeller:
    """The labels of the batch by a helper, while this process computes the augmented view."""

    within_epochs = True

    def __init__(self, config: RunConfig, helper: Helper, num_clusters: int) -> None:
        self._config, self._helper = config, helper
        few = np.full((2, num_clusters), 1 / num_clusters, np.float32)
        helper.submit(labels_of, config.method, few, config.pseudo_labels).result()  # compiles there

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Nothing to do."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """σ leaves as soon as it is known."""
        batch.settle()
        method, settings = self._config.method, self._config.pseudo_labels
        probs, known = batch.probs.numpy(), batch.known
        answer: Answer = self._helper.submit(labels_of, method, probs, settings, known, prior)

        def finish() -> Labelled:
            labels, iterations, change = answer.result()
            estimated = judged(method, settings, probs, prior, labels, (iterations, change), known)
            return estimated, to_device(as_tensor(labels[batch.own]), batch.predicted.device)

        return finish

    def hand_over(self, probs: np.ndarray) -> Any:
        """Send predictions to the helper and back."""
        return self._helper.submit(np.asarray, probs).result()
