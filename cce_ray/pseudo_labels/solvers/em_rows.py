"""The rows' half of EM: σ, y and warm starts of some points; prices go in, partial sums of groups come out.

Whoever holds the rows, the K-vector half (`em.EM`, `spread.SpreadEM`) is the same: it turns the groups' sums
into the next prices. Groups are cut by the number of points of the whole problem alone and are added up in
their order, in float64, so that who holds which of them cannot change a bit of the labels.
"""

from typing import Protocol, final

import numpy as np

from cce_ray.pseudo_labels.certificate import GroupedRows
from cce_ray.pseudo_labels.mappers import BlockKernel, Mapper, bind
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, blocks_of

# Up to this λ float32 labels are also computed in float32, twice as fast.
_SINGLE_WEIGHT = 1000.0
# Up to this many clusters rows fill the vector registers, from there on a row's clusters do.
LANES_EDGE = 48
# An empty cluster's price, which 0 · p must survive in single precision.
_HIGHEST_PRICE = {np.float32: 1e30, np.float64: np.inf}
# `kernels.em.em_blocks`'s limits but for the last. In float32 the weights' floor keeps a_k / D_k² finite.
_LIMITS: dict[type, list[float]] = {np.float32: [1e-30, 1e-6, 3e-3], np.float64: [1e-290, 1e-13, 1e-4]}


class Rows(GroupedRows, Protocol):
    """The rows of a whole problem, wherever they are, on which EM can be done."""

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """One iteration at prices (K,): the new Σ_i y_ik and max |Δy| of each group, (groups, K + 1)."""


@final
class EMRows:
    """Rows in this process's memory.

    Attributes:
        probs: σ. Only `advance` and `gaps` look at it: in between it may be taken away (None), and an equal
            array be put there later.

    Args:
        probs: σ, (M, K), float32 or float64.
        labels: the start y, (M, K), of σ's dtype; changed in place.
        known: (M,), int64: the class of a known row, -1 elsewhere.
        fairness_weight: λ, which decides the precision.
        group: blocks of a group (`problem.group_blocks` of the whole problem's points).
        mapper: who works on which blocks.
        kernel: by default `kernels.em_lanes.em_lanes` or, for many clusters, `kernels.em.em_blocks`; or the
            NumPy twin `em_blocks_reference`.
    """

    def __init__(
        self,
        probs: np.ndarray,
        labels: np.ndarray,
        known: np.ndarray,
        fairness_weight: float,
        group: int,
        mapper: Mapper,
        kernel: BlockKernel | None = None,
    ) -> None:
        from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel
        from cce_ray.pseudo_labels.kernels import certificate as certificate_kernel
        from cce_ray.pseudo_labels.kernels import em as em_kernel
        from cce_ray.pseudo_labels.kernels import em_lanes as em_lanes_kernel

        points, clusters = probs.shape
        # Where λ is large an iteration moves y by less than float32 resolves in 1 + A - d.
        single = labels.dtype == np.float32 and fairness_weight <= _SINGLE_WEIGHT
        number = np.float32 if single else np.float64
        self._mapper, self._group = mapper, group
        self._sum_groups, self._label_groups = blocks_kernel.sum_groups, blocks_kernel.label_groups
        self._gaps = certificate_kernel.collision_gaps
        self._prices, self._highest = np.empty(clusters, number), _HIGHEST_PRICE[number]
        self._labels, self._known, self._slacks = labels, known, np.full(points, -1, number)
        self._partials = np.zeros((blocks_of(points), clusters + 1))
        groups = -(-len(self._partials) // group)
        self._groups = self._partials if group == 1 else np.empty((groups, clusters + 1))
        lanes = clusters <= LANES_EDGE
        make_scratch = em_lanes_kernel.make_scratch if lanes else em_kernel.make_scratch
        self._kernel = kernel or (em_lanes_kernel.em_lanes if lanes else em_kernel.em_blocks)
        self._arguments = (
            self._prices,
            np.array([*_LIMITS[number], np.finfo(labels.dtype).tiny], number),
            make_scratch(mapper.shares, clusters, number),
            self._partials,
        )
        self.probs = probs

    @property
    def probs(self) -> np.ndarray | None:
        return self._probs

    @probs.setter
    def probs(self, probs: np.ndarray | None) -> None:
        from cce_ray.pseudo_labels.kernels import em as em_kernel

        self._probs, self._work = probs, None  # no bound array keeps the memory of a σ that is taken away
        if probs is not None:
            rows = em_kernel.Rows(probs, self._labels, self._slacks, self._known)
            self._work = bind(self._kernel, tuple(rows), *self._arguments)  # a plain one: see `kernels.jit`

    def sums(self) -> np.ndarray:
        """See `Rows`."""
        sums = np.empty((len(self._groups), self._labels.shape[1]))
        self._label_groups(self._labels, self._group * BLOCK_ROWS, sums)
        return sums

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`. The array is overwritten by the next call."""
        np.minimum(prices, self._highest, out=self._prices, casting="same_kind")
        assert self._work is not None, "σ was taken away"
        self._mapper(self._work, len(self._partials))
        if self._group > 1:
            self._sum_groups(self._partials, self._group, self._groups)
        return self._groups

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        gaps = np.empty(len(self._groups))
        self._gaps(self.probs, self._labels, self._known, prices, self._group * BLOCK_ROWS, gaps)
        return gaps
