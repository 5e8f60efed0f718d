"""Where the pseudo-labels of a batch come from: whose means they balance, and who computes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, final

import numpy as np
import torch

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.data.batches import to_device
from cce_ray.methods import MethodSettings, labels_of
from cce_ray.models import Classifier
from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings, estimate_pseudo_labels
from cce_ray.training.batch_probs import BatchProbs, Labelled
from cce_ray.training.context import Answer, Helper, RunContext
from cce_ray.training.whole_set import WholeSet


class Labeller(Protocol):
    """Estimates pseudo-labels for one batch after another."""

    within_epochs: bool
    """Whether the labels depend on nothing before the batch, so that an epoch can be resumed inside."""

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Before the first batch of an epoch, with the network as it stands."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """Begin; what is returned ends it. Between the two the caller may do something else."""


@final
class Here:
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
            estimated = self._method.labels(source[rows], self._settings, prior=prior)
            own = slice(None) if self._settings.scope == "rank" else batch.own
            return estimated, to_device(estimated.labels[own], batch.predicted.device)

        return finish


@final
class Beside:
    """The labels of the batch by a helper, while this process computes the augmented view."""

    within_epochs = True

    def __init__(self, config: RunConfig, helper: Helper, num_clusters: int) -> None:
        self._config, self._helper = config, helper
        few = np.full((2, num_clusters), 1 / num_clusters, np.float32)
        helper.submit(labels_of, config.method, config.pseudo_labels, few, None).result()  # compiles there

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Nothing to do."""

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """σ leaves as soon as it is known."""
        batch.settle()
        method, settings = self._config.method, self._config.pseudo_labels
        answer: Answer = self._helper.submit(labels_of, method, settings, batch.probs.numpy(), prior)

        def finish() -> Labelled:
            labels, iterations, change = answer.result()
            estimated = judged(method, settings, batch.probs.numpy(), prior, labels, (iterations, change))
            own = torch.from_numpy(labels[batch.own].copy())  # a helper's arrays are read-only
            return estimated, to_device(own, batch.predicted.device)

        return finish


def judged(
    method: MethodSettings,
    settings: PseudoLabelSettings,
    probs: np.ndarray,
    prior: np.ndarray | None,
    labels: np.ndarray,
    progress: tuple[int, float],
) -> PseudoLabels:
    """Labels that were estimated elsewhere as if they had been estimated here."""
    if prior is None and not isinstance(settings.prior, str):
        prior = np.asarray(settings.prior)

    def look() -> PseudoLabels:
        return estimate_pseudo_labels(
            probs,
            **method.objective_terms,
            prior=prior,
            prior_slack=settings.prior_slack,
            init=labels,
            max_iterations=0,
            backend="inline",
        )

    return PseudoLabels(
        labels, lambda: look().objective, lambda: look().gap, progress, lambda: "max_iterations"
    )


def make_labeller(config: RunConfig, context: RunContext, batch_size: int, dataset: Dataset) -> Labeller:
    """The labeller of a run, its kernels compiled or loaded: seconds on a new machine, which no step should
    be charged. Says what it chose where there was a choice."""
    settings: PseudoLabelSettings = config.pseudo_labels
    num_clusters, helper = dataset.num_clusters, context.helper
    config.method.labels(torch.full((2, num_clusters), 1 / num_clusters), settings)
    if settings.scope == "dataset":
        return WholeSet(config, context, dataset)
    if helper is None:
        return Here(config)
    if settings.backend == "ray":
        return Beside(config, helper, num_clusters)
    here, handing_over = measured(config, helper, batch_size, num_clusters)
    beside = handing_over < here / 2
    context.note(
        f"pseudo_labels.backend: {'ray' if beside else 'inline'} (a batch takes {1000 * here:.2g} ms here, "
        f"handing it over {1000 * handing_over:.2g} ms)"
    )
    return Beside(config, helper, num_clusters) if beside else Here(config)


def measured(config: RunConfig, helper: Helper, batch_size: int, num_clusters: int) -> tuple[float, float]:
    """Seconds that the labels of one batch take here, and those that σ and y take to a helper and back.

    Random predictions, each time the better of two.
    """
    random = torch.Generator().manual_seed(0)
    probs = torch.randn((batch_size, num_clusters), generator=random).softmax(dim=1)

    def seconds(work: Callable[[], Any]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    here = min(seconds(lambda: config.method.labels(probs, config.pseudo_labels)) for _ in range(2))
    there = min(seconds(helper.submit(np.asarray, probs.numpy()).result) for _ in range(3))
    return here, there
