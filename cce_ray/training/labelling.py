"""Where the pseudo-labels of a batch come from: whose means they balance, and who computes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.data.batches import to_device
from cce_ray.data.tensors import as_tensor
from cce_ray.methods import MethodSettings, labels_of
from cce_ray.models import Classifier
from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings, estimate_pseudo_labels
from cce_ray.pseudo_labels.spread import group_range
from cce_ray.training.batch_probs import BatchProbs, Labelled
from cce_ray.training.context import Answer, Helper, RunContext
from cce_ray.training.held_rows import OwnRows, estimate_by_ranks
from cce_ray.training.ranks import Ranks
from cce_ray.training.whole_set import WholeSet

NOTHING_SECONDS = 5e-4
"""A batch's labels in less than this are not worth a thought about who estimates them."""


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
            known = None if batch.known is None else batch.known[rows]
            estimated = self._method.labels(source[rows], self._settings, known, prior)
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
        probs, known = batch.probs.numpy(), batch.known
        answer: Answer = self._helper.submit(labels_of, method, settings, probs, prior, known)

        def finish() -> Labelled:
            labels, iterations, change = answer.result()
            estimated = judged(method, settings, probs, prior, labels, (iterations, change), known)
            return estimated, to_device(as_tensor(labels[batch.own]), batch.predicted.device)

        return finish

    def hand_over(self, probs: np.ndarray) -> Any:
        """Send predictions to the helper and back."""
        return self._helper.submit(np.asarray, probs).result()


@final
class Together:
    """The labels of the batch by EM that the ranks share: each iterates its groups of rows, and only
    K-vectors travel in an iteration. The bits are those of `Here`."""

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


def judged(
    method: MethodSettings,
    settings: PseudoLabelSettings,
    probs: np.ndarray,
    prior: np.ndarray | None,
    labels: np.ndarray,
    progress: tuple[int, float],
    known_labels: np.ndarray | None = None,
) -> PseudoLabels:
    """Labels that were estimated elsewhere as if they had been estimated here."""

    def look() -> PseudoLabels:
        return estimate_pseudo_labels(
            probs,
            **method.objective_terms,
            prior=settings.given_prior if prior is None else prior,
            prior_slack=settings.prior_slack,
            init=labels,
            known_labels=known_labels,
            max_iterations=0,
            backend="inline",
        )

    return PseudoLabels(
        labels, lambda: look().objective, lambda: look().gap, progress, lambda: "max_iterations"
    )


@final
class Given:
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


def make_labeller(
    config: RunConfig,
    context: RunContext,
    batch_size: int,
    dataset: Dataset,
    known_labels: np.ndarray | None = None,
) -> Labeller | None:
    """The labeller of a run, its kernels compiled or loaded: seconds on a new machine, which no step should
    be charged. Says what it chose where there was a choice. None for a method that estimates no labels."""
    if not config.method.scopes:
        return None
    settings: PseudoLabelSettings = config.pseudo_labels
    num_clusters, helper = dataset.num_clusters, context.helper
    config.method.labels(torch.full((2, num_clusters), 1 / num_clusters), settings)
    if settings.scope == "dataset":
        return WholeSet(config, context, dataset, known_labels)
    if settings.backend == "ray":
        assert helper, "RunConfig refuses backend ray without workers"
        return Beside(config, helper, num_clusters)
    candidates: dict[str, Labeller] = {"inline": Here(config)}
    if settings.backend == "auto" and helper is not None and config.method.objective:
        candidates["ray"] = Beside(config, helper, num_clusters)
    if can_be_shared(config, context):
        candidates["shared by the ranks"] = Together(config, context.ranks)
    return fastest(config, context, candidates, batch_size, num_clusters)


def can_be_shared(config: RunConfig, context: RunContext) -> bool:
    """Whether ranks may iterate EM together: where it is EM, of the whole batch, on the host."""
    wanted = config.pseudo_labels
    return (
        context.ranks.size > 1
        and wanted.scope == "batch"
        and wanted.solver in ("auto", "em")
        and wanted.gap_tolerance is None
        and config.method.objective == "cce_plus"
        and not config.supervision.enabled
        and context.device.type == "cpu"
    )


def fastest(
    config: RunConfig,
    context: RunContext,
    candidates: dict[str, Labeller],
    batch_size: int,
    num_clusters: int,
) -> Labeller:
    """The candidate that is measured, by rank 0 on random predictions, to hold up a step the least.

    Work beside the training is charged what it takes to hand σ and y over: the rest passes while the
    augmented view is computed, if there is one.
    """
    if len(candidates) == 1:
        return candidates["inline"]
    random = torch.Generator().manual_seed(0)
    probs = torch.randn((batch_size, num_clusters), generator=random).softmax(dim=1)
    seconds = {"inline": measured(lambda: config.method.labels(probs, config.pseudo_labels))}
    if context.ranks.decide(seconds["inline"] < NOTHING_SECONDS)():
        return candidates["inline"]
    for name, candidate in candidates.items():
        if isinstance(candidate, Beside):
            handed = measured(lambda: candidate.hand_over(probs.numpy()))  # noqa: B023
            seconds[name] = handed + (0.0 if config.method.wants_augmented_view else seconds["inline"])
        elif isinstance(candidate, Together):
            seconds[name] = measured(lambda: candidate.estimate(probs.numpy(), None))  # noqa: B023
    order = list(candidates)
    chosen = order[0]
    for name in order[1:]:
        if context.ranks.decide(seconds[name] < seconds[chosen])():
            chosen = name
    told = ", ".join(f"{name} {1000 * seconds[name]:.2g} ms" for name in order)
    context.note(f"pseudo-labels of a batch: {chosen} (measured: {told})")
    return candidates[chosen]


def measured(work: Callable[[], Any]) -> float:
    """Seconds that it takes, the best of three."""

    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return min(once() for _ in range(3))
