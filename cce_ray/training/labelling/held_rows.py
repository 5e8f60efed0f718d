"""EM whose rows are shared by the ranks: held in this process, iterated together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import numpy as np
import torch

from cce_ray.methods import MethodSettings
from cce_ray.pseudo_labels import (
    OBJECTIVE,
    EMRows,
    GatheredRows,
    Limits,
    PseudoLabelSettings,
    Rows,
    SpreadResult,
    check_prior,
    choose_mapper,
    estimate_spread,
    group_blocks,
    start_rows,
)
from cce_ray.training.ranks import Ranks


@final
class InProcess:
    """Holds rows in this process's memory."""

    def hold(
        self, pieces: Iterable[np.ndarray], first_row: int, num_points: int, fairness_weight: float
    ) -> OwnRows:
        """See `Holders`."""
        return OwnRows(list(pieces), first_row, num_points, fairness_weight)


@final
class OwnRows:
    """`HeldRows` in this process's memory."""

    def __init__(
        self, pieces: list[np.ndarray], first_row: int, num_points: int, fairness_weight: float
    ) -> None:
        self._rows: EMRows | None = None
        self._labels: np.ndarray | None = None
        if pieces:
            probs = np.concatenate(pieces)
            self._labels = start_rows(probs, first_row)
            known = np.full(len(probs), -1)
            mapper = choose_mapper("auto", probs.size)
            group = group_blocks(num_points)
            self._rows = EMRows(probs, self._labels, known, fairness_weight, group, mapper)

    def sums(self) -> np.ndarray:
        """See `Rows`."""
        assert self._rows
        return self._rows.sums()

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        assert self._rows
        return self._rows.advance(prices)

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        assert self._rows
        return self._rows.gaps(prices)

    def finish(self) -> list[np.ndarray]:
        """See `HeldRows`."""
        self._rows = None
        return [] if self._labels is None else [self._labels]


def estimate_by_ranks(
    own: Rows | None,
    num_points: int,
    num_clusters: int,
    method: MethodSettings,
    settings: PseudoLabelSettings,
    prior: np.ndarray | None,
    ranks: Ranks,
) -> SpreadResult:
    """EM on the rows of all ranks, each of which has those of its groups (`group_range`) or none.

    Labels, and what is returned, have the bits of an estimation by one process.
    """
    if prior is None:
        prior = check_prior(settings.given_prior, num_clusters, OBJECTIVE)

    def gather(own: np.ndarray, counts: list[int]) -> np.ndarray:
        return ranks.gather(torch.from_numpy(np.ascontiguousarray(own)), counts).numpy()

    return estimate_spread(
        GatheredRows(own, gather, num_points, num_clusters, ranks.size),
        num_points=num_points,
        prior=prior,
        fairness_weight=method.objective_terms["fairness_weight"],
        prior_slack=settings.prior_slack,
        limits=Limits(settings.max_iterations, settings.tolerance, settings.gap_tolerance),
    )
