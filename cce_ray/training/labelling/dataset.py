"""Pseudo-labels of all training samples at once, whose fairness term balances the whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

import numpy as np
import torch

from cce_ray.config import RunConfig
from cce_ray.data import Batches, Dataset, to_device
from cce_ray.models import Classifier
from cce_ray.pseudo_labels import PseudoLabels, group_range, group_rows
from cce_ray.training.context import RunContext
from cce_ray.training.evaluation import predict
from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled
from cce_ray.training.labelling.held_rows import InProcess, estimate_by_ranks

PIECE_BYTES = 16 * 2**20
"""Predictions are handed to holders in pieces of about this size."""


@final
class DatasetLabels:
    """Labels for an epoch, estimated from predictions of all training samples when it begins.

    Every rank predicts the samples of its groups, with the network in evaluation mode, and holds their σ and
    y (or has them held); EM exchanges K-vectors. A batch then collects its rows of y from the ranks that hold
    them. An epoch cannot be resumed inside: its labels belong to the network at its beginning.
    """

    within_epochs = False

    def __init__(
        self,
        config: RunConfig,
        context: RunContext,
        dataset: Dataset,
        known_labels: np.ndarray | None = None,
    ) -> None:
        self._method, self._settings, self._context = config.method, config.pseudo_labels, context
        self._samples, self._clusters = dataset.samples, dataset.num_clusters
        self._indices = dataset.train_indices
        self._known = None if known_labels is None else known_labels[self._indices]
        size = context.ranks.size
        ranges = [group_range(len(self._indices), rank, size) for rank in range(size)]
        self._first, self._last = ranges[context.ranks.rank]
        self._ends = np.array([last for _, last in ranges])
        self._labels: list[np.ndarray] = []
        self._estimated: PseudoLabels | None = None

    def begin_epoch(self, model: Classifier, prior: np.ndarray | None) -> None:
        """Predict and estimate. ValueError, on all ranks, if predictions are not finite."""
        alone = self._context.ranks.size == 1 and self._context.holders is None
        self._estimated = self._by_one(model, prior) if alone else self._by_all(model, prior)

    def submit(self, batch: BatchProbs, prior: np.ndarray | None) -> Callable[[], Labelled]:
        """The batch's rows; nothing is estimated."""
        assert self._estimated
        ranks = self._context.ranks
        positions = np.searchsorted(self._indices, batch.indices.numpy())
        owners = np.searchsorted(self._ends, positions, side="right")
        mine = positions[owners == ranks.rank] - self._first
        own = (
            torch.from_numpy(rows_of(self._labels, mine)) if self._labels else torch.empty(0, self._clusters)
        )
        counts = np.bincount(owners, minlength=ranks.size).tolist()
        labels = torch.empty((len(positions), self._clusters), dtype=own.dtype)
        labels[torch.from_numpy(np.argsort(owners, kind="stable"))] = ranks.gather(own, counts)
        found = self._estimated, to_device(labels[batch.own], batch.predicted.device)
        return lambda: found

    def _by_one(self, model: Classifier, prior: np.ndarray | None) -> PseudoLabels:
        probs = np.concatenate(list(self._predictions(model)))
        found = self._method.labels(torch.from_numpy(probs), self._settings, self._known, prior)
        self._labels = [found.labels.numpy()]
        return found

    def _by_all(self, model: Classifier, prior: np.ndarray | None) -> PseudoLabels:
        context, points = self._context, len(self._indices)
        weight = self._method.objective_terms["fairness_weight"]
        holders = context.holders or InProcess()
        held, problem = None, ""
        try:
            held = holders.hold(self._predictions(model), self._first, points, weight)
        except ValueError as error:  # of this rank's predictions: all ranks must end with it
            problem = str(error)
        problems = [text for text in context.ranks.texts(problem) if text]
        if problems or held is None:
            raise ValueError(f"optimizer.learning_rate: training diverged ({problems[0]})")
        rows = held if self._last > self._first else None
        found = estimate_by_ranks(
            rows, points, self._clusters, self._method, self._settings, prior, context.ranks
        )
        gap = found.certify()
        self._labels = held.finish()
        progress = found.iterations, found.change
        return PseudoLabels(self._labels, lambda: np.nan, lambda: gap, progress, lambda: found.reason)

    def _predictions(self, model: Classifier) -> Iterator[np.ndarray]:
        """σ of this rank's samples, (rows, K) float32, in pieces of whole groups."""
        step = group_rows(len(self._indices))
        step *= max(1, PIECE_BYTES // (4 * self._clusters * step))
        for first in range(self._first, self._last, step):
            indices = self._indices[first : min(first + step, self._last)]
            size = min(1024, len(indices))
            batches = Batches(self._samples, indices, batch_size=size, device=self._context.device)
            yield predict(model, batches)


def rows_of(pieces: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The rows of an array that is cut into pieces along its first axis."""
    starts = np.cumsum([0, *(len(piece) for piece in pieces)])
    which = np.searchsorted(starts, rows, side="right") - 1
    found = np.empty((len(rows), *pieces[0].shape[1:]), pieces[0].dtype)
    for number in np.unique(which):
        mine = which == number
        found[mine] = pieces[number][rows[mine] - starts[number]]
    return found
