"""EM for (11) over points that are spread over several processes: only K-vectors travel."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import numpy as np

from cce_ray.pseudo_labels.certificate import gap_of_groups
from cce_ray.pseudo_labels.problem import group_rows, num_groups
from cce_ray.pseudo_labels.solvers.abilities import Ability, Place
from cce_ray.pseudo_labels.solvers.driver import Limits, Reason, iterate
from cce_ray.pseudo_labels.solvers.em import EM, OBJECTIVE, Means
from cce_ray.pseudo_labels.solvers.em_rows import Rows

_Gather = Callable[[np.ndarray, list[int]], np.ndarray]
"""(own, counts) -> the rows of all ranks in their order, of which `own` are counts[rank] (`Ranks.gather`)."""


def group_range(num_points: int, rank: int, size: int) -> tuple[int, int]:
    """(first row, last row) of the groups that are a rank's; the numbers of groups differ by one at most."""
    groups, rows = num_groups(num_points), group_rows(num_points)
    return groups * rank // size * rows, min(groups * (rank + 1) // size * rows, num_points)


@final
class GatheredRows:
    """The rows of all ranks of a group of processes, each of which holds a part and asks all the others.

    Args:
        own: this rank's rows, those of `group_range`; None where it has none.
        gather: how arrays come together.
        num_points, num_clusters: of the whole problem.
        size: how many ranks there are.
    """

    def __init__(
        self, own: Rows | None, gather: _Gather, num_points: int, num_clusters: int, size: int
    ) -> None:
        groups = num_groups(num_points)
        edges = [groups * rank // size for rank in range(size + 1)]
        self._own, self._gather, self._clusters = own, gather, num_clusters
        self._counts = [last - first for first, last in pairwise(edges)]

    def sums(self) -> np.ndarray:
        """See `Rows`."""
        own = self._own.sums() if self._own else np.empty((0, self._clusters))
        return self._gather(own, self._counts)

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        own = self._own.advance(prices) if self._own else np.empty((0, self._clusters + 1))
        return self._gather(own, self._counts)

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        return self._gather(self._own.gaps(prices) if self._own else np.empty(0), self._counts)


@final
class SpreadEM:
    """EM as a `driver.Solver` on rows that are elsewhere."""

    abilities: ClassVar[Mapping[Place, Ability]] = {"spread": EM.abilities["spread"]}
    double: ClassVar[bool] = False
    gap: ClassVar[None] = None
    prices: ClassVar[None] = None

    def __init__(self, rows: Rows, means: Means) -> None:
        self._rows, self._means = rows, means

    def advance(self) -> float:
        """One EM iteration; returns max |Δy|."""
        return self._means.advance(self._rows)


@dataclass(frozen=True)
class SpreadResult:
    """How an estimation over spread rows ended. The labels are where the rows are."""

    iterations: int
    change: float
    """max |Δy| of the last iteration."""
    reason: Reason
    certify: Callable[[], float]
    """Computes the certified gap, as of `PseudoLabels`; while the rows live."""


def estimate_spread(
    rows: Rows,
    *,
    num_points: int,
    prior: np.ndarray,
    fairness_weight: float,
    prior_slack: float,
    limits: Limits,
) -> SpreadResult:
    """EM on rows that may be anywhere; labels and all results have the bits of `estimate_pseudo_labels`.

    Every process that holds some of the rows calls it with the same arguments.

    Args:
        rows: the rows of the whole problem, at their start labels.
        num_points: M of the whole problem.
        prior: u, (K,), float64, sums to one.
        fairness_weight, prior_slack: λ and ε.
        limits: when to stop.
    """
    means = Means(rows, num_points, prior, fairness_weight, prior_slack)

    def certify() -> float:
        return gap_of_groups(rows, num_points, (prior, fairness_weight, prior_slack), OBJECTIVE)

    iterations, change, reason = iterate(SpreadEM(rows, means), limits, certify)
    assert math.isfinite(change) or iterations == 0
    return SpreadResult(iterations, change, reason, certify)
