"""Which labeller a run gets: by its settings, and where these leave a choice, by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.pseudo_labels import PseudoLabelSettings
from cce_ray.training.context import RunContext
from cce_ray.training.labelling.dataset import DatasetLabels
from cce_ray.training.labelling.helper import HelperLabeller
from cce_ray.training.labelling.inline import InlineLabeller
from cce_ray.training.labelling.labeller import Labeller
from cce_ray.training.labelling.shared import SharedLabeller

_NOTHING_SECONDS = 5e-4
"""A batch's labels in less than this are not worth a thought about who estimates them."""


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
        return DatasetLabels(config, context, dataset, known_labels)
    if settings.backend == "ray":
        assert helper, "RunConfig refuses backend ray without workers"
        return HelperLabeller(config, helper, num_clusters)
    candidates: dict[str, Labeller] = {"inline": InlineLabeller(config)}
    if settings.backend == "auto" and helper is not None and config.method.objective:
        candidates["ray"] = HelperLabeller(config, helper, num_clusters)
    if _can_be_shared(config, context):
        candidates["shared by the ranks"] = SharedLabeller(config, context.ranks)
    return fastest(config, context, candidates, batch_size, num_clusters)


def _can_be_shared(config: RunConfig, context: RunContext) -> bool:
    """Whether ranks may iterate EM together: where it is EM, of the whole batch, on the host."""
    settings: PseudoLabelSettings = config.pseudo_labels
    return (
        context.ranks.size > 1
        and settings.scope == "batch"
        and settings.gap_tolerance is None  # with one, auto may be another solver
        and settings.can_solve(config.method.objective, "spread", known_labels=config.supervision.enabled)
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
    if context.ranks.decide(seconds["inline"] < _NOTHING_SECONDS)():
        return candidates["inline"]
    for name, candidate in candidates.items():
        if isinstance(candidate, HelperLabeller):
            handed = measured(lambda: candidate.hand_over(probs.numpy()))  # noqa: B023
            seconds[name] = handed + (0.0 if config.method.wants_augmented_view else seconds["inline"])
        elif isinstance(candidate, SharedLabeller):
            seconds[name] = measured(lambda: candidate.estimate(probs.numpy(), None))  # noqa: B023
    order = list(candidates)
    chosen = order[0]
    for name in order[1:]:
        if context.ranks.decide(seconds[name] < seconds[chosen])():
            chosen = name
    times = ", ".join(f"{name} {1000 * seconds[name]:.2g} ms" for name in order)
    context.note(f"pseudo-labels of a batch: {chosen} (measured: {times})")
    return candidates[chosen]


def measured(work: Callable[[], Any]) -> float:
    """Seconds that it takes, the best of three."""

    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return min(once() for _ in range(3))
