"""EM over a whole data set as remote work: long-lived actors hold the rows, only K-vectors travel.

The predictions σ lie in Ray's object store in pieces of whole groups; a holder maps its pieces without a copy
and keeps y beside them. An iteration sends the K prices to every holder and brings back the sums of its
groups, which are added up in order: the labels have the bits of an estimation in one process, whatever the
number of holders. What a lost holder had is made again from σ by replaying the prices sent since the start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import numpy as np
import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cce_ray.pseudo_labels.checks import check_limits, check_prior, check_slack, check_weight, start_rows
from cce_ray.pseudo_labels.em_rows import EMRows
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.problem import group_blocks
from cce_ray.pseudo_labels.spread import SpreadResult, estimate_spread, group_rows

MOST_LOSSES = 10
"""A holder that is lost so often in one estimation is given up."""


@dataclass(frozen=True)
class Piece:
    """Predictions in the object store: (rows, K), whole groups but for the last of the problem."""

    reference: ray.ObjectRef
    first_row: int
    """Where it begins in the whole problem."""
    rows: int


@dataclass(frozen=True)
class Share:
    """What one holder holds, and of which problem."""

    pieces: tuple[Piece, ...]
    num_points: int
    fairness_weight: float
    memory_limit: int | None
    """Bytes of y that may lie in memory; more lie in a mapped scratch file. None: no limit."""


def load_kernels(row: np.ndarray, fairness_weight: float) -> None:
    """Compile the kernels for such rows, or load them: half a second, which no iteration should take."""
    rows = EMRows(row, start_rows(row, 0), np.full(1, -1), fairness_weight, 1, Inline())
    rows.gaps(rows.advance(np.ones(row.shape[1]))[0, :-1])


class _Holder:
    """The rows of some pieces, in a process of their own."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._rows: list[EMRows] = []
        self._labels: list[np.ndarray] = []

    def start(self) -> np.ndarray:
        """Fetch σ, make the start labels; the groups' sums. ValueError for rows that are no distributions."""
        group = group_blocks(self._share.num_points)
        for piece in self._share.pieces:
            probs = ray.get(piece.reference)
            labels = self._placed(start_rows(probs, piece.first_row))
            known = np.broadcast_to(np.int64(-1), len(probs))
            weight = self._share.fairness_weight
            self._rows.append(EMRows(probs, labels, known.copy(), weight, group, Inline()))
            self._labels.append(labels)
        load_kernels(probs[:1], weight)
        return np.concatenate([rows.sums() for rows in self._rows])

    def _placed(self, labels: np.ndarray) -> np.ndarray:
        """The labels in memory, or in a scratch file where all would be more than the limit."""
        limit = self._share.memory_limit
        share = sum(piece.rows for piece in self._share.pieces) * labels[0].nbytes
        if limit is None or share <= limit:
            return labels
        with tempfile.TemporaryFile(prefix="cce_ray-labels-") as file:
            mapped = np.memmap(file, labels.dtype, "w+", shape=labels.shape)
        mapped[:] = labels
        return mapped

    def advance(self, prices: np.ndarray) -> np.ndarray:
        return np.concatenate([rows.advance(prices) for rows in self._rows])

    def replay(self, history: list[np.ndarray]) -> int:
        """Start, and make up for the iterations that were done before."""
        self.start()
        for prices in history:
            for rows in self._rows:
                rows.advance(prices)
        return len(history)

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        return np.concatenate([rows.gaps(prices) for rows in self._rows])

    def labels(self) -> Any:
        """One y a piece, and a word that all are there."""
        return (*self._labels, True)

    def process(self) -> tuple[int, list[str]]:
        """Its id, and the heavy libraries it has loaded."""
        import sys

        return os.getpid(), [name for name in ("torch", "pandas", "sklearn") if name in sys.modules]


@final
class RayRows:
    """`em_rows.Rows` in holders: Ray actors on one node. Close it, or use it as a context.

    Holders ask Ray for no CPU. Whoever iterates waits while they work, so they use the CPUs that it has
    reserved; actors that asked for CPUs of their own would wait for ever where workers hold them all.

    Args:
        pieces: σ, in order.
        num_points: M of the whole problem, of which these may be a part (whole groups).
        fairness_weight: λ.
        workers: how many holders; at most one a piece is used.
        memory_limit: see `Share`.
        node: Ray's id of their node; None: this one.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        *,
        num_points: int,
        fairness_weight: float,
        workers: int,
        memory_limit: int | None = None,
        node: str | None = None,
    ) -> None:
        node = node or ray.get_runtime_context().get_node_id()
        self._place = NodeAffinitySchedulingStrategy(node, soft=False)
        self._shares = [
            Share(part, num_points, float(fairness_weight), memory_limit) for part in parts(pieces, workers)
        ]
        self._holders = [self._hire(share) for share in self._shares]
        self._history: list[np.ndarray] = []
        self._losses = [0] * len(self._shares)

    def _hire(self, share: Share) -> Any:
        return ray.remote(_Holder).options(num_cpus=0, scheduling_strategy=self._place).remote(share)

    def sums(self) -> np.ndarray:
        """See `Rows`. ValueError, one line, if a row of σ is no distribution."""
        return np.concatenate(self._ask(lambda holder: holder.start.remote(), first=True))

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        sent = prices.copy()
        answers = self._ask(lambda holder: holder.advance.remote(sent))
        self._history.append(sent)
        return np.concatenate(answers)

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        return np.concatenate(self._ask(lambda holder: holder.gaps.remote(prices)))

    def labels(self) -> list[ray.ObjectRef]:
        """y of every piece, (rows, K), in order, in the object store; they outlive the holders."""
        found: list[ray.ObjectRef] = []
        for number, share in enumerate(self._shares):
            answers: list[ray.ObjectRef] = []

            def ask(holder: Any, count: int = len(share.pieces) + 1, to: list[Any] = answers) -> Any:
                to[:] = holder.labels.options(num_returns=count).remote()
                return to[-1]

            self._answer(number, ask(self._holders[number]), ask)
            found += answers[:-1]
        return found

    def processes(self) -> list[tuple[int, list[str]]]:
        """(process id, heavy libraries it has loaded) of every holder."""
        return self._ask(lambda holder: holder.process.remote())

    def _ask(self, question: Callable[[Any], Any], *, first: bool = False) -> list[Any]:
        """Every holder's answer. One that was lost is replaced, brought to where it was (unless this is the
        first question) and asked again."""
        asked = [question(holder) for holder in self._holders]
        return [self._answer(number, answer, question, first=first) for number, answer in enumerate(asked)]

    def _answer(
        self, number: int, answer: Any, question: Callable[[Any], Any], *, first: bool = False
    ) -> Any:
        while True:
            try:
                return ray.get(answer)
            except RayActorError as error:
                self._count_loss(number, error)
                holder = self._holders[number] = self._hire(self._shares[number])
                if not first:
                    holder.replay.remote(self._history)  # a holder does one thing after the other
                answer = question(holder)
            except RayTaskError as error:
                raise (
                    ValueError(str(error.cause)) if isinstance(error.cause, ValueError) else error
                ) from None

    def _count_loss(self, number: int, error: RayActorError) -> None:
        self._losses[number] += 1
        if self._losses[number] < MOST_LOSSES:
            return
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"pseudo_labels.backend: an EM worker was lost {MOST_LOSSES} times ({reason}); give its node "
            "more memory or set pseudo_labels.backend=inline"
        )

    def close(self) -> None:
        """End the holders."""
        for holder in self._holders:
            ray.kill(holder)

    def __enter__(self) -> RayRows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class EMHolders:
    """`training.context.Holders` by actors on this node."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def hold(
        self, pieces: Iterable[np.ndarray], first_row: int, num_points: int, fairness_weight: float
    ) -> HeldByActors:
        """See `Holders`: every piece goes to the object store as soon as it is there."""
        placed: list[Piece] = []
        for piece in pieces:
            placed.append(Piece(ray.put(piece), first_row, len(piece)))
            first_row += len(piece)
        return HeldByActors(
            RayRows(placed, num_points=num_points, fairness_weight=fairness_weight, workers=self._workers)
        )


@final
class HeldByActors:
    """`training.context.HeldRows` in actors, checked and at their start."""

    def __init__(self, rows: RayRows) -> None:
        self._rows = rows
        self._sums = rows.sums()
        self.advance, self.gaps = rows.advance, rows.gaps

    def sums(self) -> np.ndarray:
        """See `Rows`."""
        return self._sums

    def finish(self) -> list[np.ndarray]:
        """See `HeldRows`: views of the object store, the actors end."""
        labels = self._rows.labels()
        self._rows.close()
        found: list[np.ndarray] = ray.get(labels)
        return found


def parts(pieces: Sequence[Piece], workers: int) -> list[tuple[Piece, ...]]:
    """The pieces in order, cut into at most `workers` parts of about equally many rows, none empty."""
    total = sum(piece.rows for piece in pieces)
    ends = accumulate(piece.rows for piece in pieces)
    numbers = [
        min(workers - 1, (end - piece.rows // 2 - 1) * workers // total)
        for piece, end in zip(pieces, ends, strict=True)
    ]
    return [
        tuple(piece for piece, mine in zip(pieces, numbers, strict=True) if mine == number)
        for number in sorted(set(numbers))
    ]


def estimate_dataset(
    pieces: Sequence[ray.ObjectRef],
    rows: Sequence[int],
    *,
    num_clusters: int,
    workers: int,
    fairness_weight: float,
    prior: Any = None,
    prior_slack: float = 0.0,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
    gap_tolerance: float | None = None,
    memory_limit: int | None = None,
) -> tuple[list[ray.ObjectRef], SpreadResult, float]:
    """`estimate_pseudo_labels` by EM for (11), of predictions in the object store, by actors on this node.

    Args:
        pieces: σ in order, each (rows[i], K), float32 or float64, of one type.
        rows: how many rows each piece has: whole groups (`spread.group_rows` of the sum), but for the last.
        num_clusters: K.
        workers: processes to share the work, one thread each.
        fairness_weight, prior, prior_slack, max_iterations, tolerance, gap_tolerance: as there.
        memory_limit: bytes of y a worker may keep in memory, the rest lies in a mapped file; None: no limit.

    Returns:
        y of every piece, in the object store; how it ended; and the certified gap.

    Raises:
        ValueError: one line for an unusable argument, or for a row that is no distribution.
    """
    num_points = sum(rows)
    check_weight(fairness_weight)
    check_slack(prior_slack)
    step = group_rows(num_points)
    for number, count in enumerate(rows[:-1]):
        if count % step:
            raise ValueError(f"rows: piece {number} has {count} rows; give multiples of {step}, a group")
    starts = [0, *accumulate(rows)]
    described = [Piece(*piece) for piece in zip(pieces, starts[:-1], rows, strict=True)]
    with RayRows(
        described,
        num_points=num_points,
        fairness_weight=fairness_weight,
        workers=workers,
        memory_limit=memory_limit,
    ) as held:
        result = estimate_spread(
            held,
            num_points=num_points,
            prior=check_prior(prior, num_clusters, "cce_plus"),
            fairness_weight=float(fairness_weight),
            prior_slack=float(prior_slack),
            limits=check_limits(max_iterations, tolerance, gap_tolerance),
        )
        gap = result.certify()
        labels = held.labels()
    return labels, result, gap
