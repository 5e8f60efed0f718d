"""EM over a whole data set as remote work: long-lived actors hold the rows, only K-vectors travel.

The predictions σ lie in Ray's object store in pieces of whole groups; a holder maps its pieces without a copy
and keeps y beside them. An iteration sends the K prices to every holder and brings back the sums of its
groups, which are added up in order: the labels have the bits of an estimation in one process, whatever the
number of holders. What a lost holder had is made again from σ by replaying the prices sent since the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import numpy as np
import ray
from ray.exceptions import (
    ActorUnschedulableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cce_ray.distributed.em.holder import Holder, Piece, Share
from cce_ray.pseudo_labels import (
    OBJECTIVE,
    SpreadResult,
    check_limits,
    check_prior,
    check_slack,
    check_weight,
    estimate_spread,
    group_rows,
    one_line,
)

MOST_LOSSES = 10
"""A holder that is lost so often before the next iteration is done is given up."""

_LOST = (RayActorError, OutOfMemoryError, NodeDiedError, ActorUnschedulableError)

_Question = Callable[[Any, int], Any]
"""(actor, its number) -> the reference of its answer."""


@dataclass(frozen=True)
class _Hired:
    actor: Any
    ready: Any
    """Reference of what `Holder.catch_up` returns: where that failed, no other answer counts."""


@final
class RayRows:
    """`em_rows.Rows` in holders: Ray actors on one node. Close it, or use it as a context.

    Holders ask Ray for no CPU. Whoever iterates waits while they work, so they use the CPUs that it has
    reserved; actors that asked for CPUs of their own would wait for ever where workers hold them all.

    A holder that is lost is made again from σ and the prices that were sent, to the same bits. ValueError,
    one line, where that happens `MOST_LOSSES` times before an iteration is done.

    Args:
        pieces: σ, in order; at least one row each.
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
        self._history: list[np.ndarray] = []
        self._shares = [
            Share(part, num_points, float(fairness_weight), memory_limit) for part in parts(pieces, workers)
        ]
        self._losses = [0] * len(self._shares)
        self._hired = [self._hire(share) for share in self._shares]

    def _hire(self, share: Share) -> _Hired:
        actor = ray.remote(Holder).options(num_cpus=0, scheduling_strategy=self._place).remote(share)
        return _Hired(actor, actor.catch_up.remote(self._history))

    def start(self) -> None:
        """Wait until σ is checked and y at its start.

        Raises:
            ValueError: one line for a row of σ that is no distribution, or a piece unlike the others.
        """
        kinds = set(self._ask(lambda _, number: self._hired[number].ready))
        if len(kinds) > 1:
            raise ValueError(f"probs: pieces have {' or '.join(sorted(kinds))}; give one kind")

    def sums(self) -> np.ndarray:
        """See `Rows`."""
        return np.concatenate(self._ask(lambda actor, _: actor.sums.remote()))

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        sent = prices.copy()
        answers = self._ask(lambda actor, _: actor.advance.remote(sent))
        self._history.append(sent)
        self._losses = [0] * len(self._shares)
        return np.concatenate(answers)

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        return np.concatenate(self._ask(lambda actor, _: actor.gaps.remote(prices)))

    def labels(self) -> list[ray.ObjectRef]:
        """y of every piece, (rows, K), in order, in the object store; they outlive the holders."""
        found: dict[tuple[int, int], ray.ObjectRef] = {}
        for place in range(max((len(share.pieces) for share in self._shares), default=0)):

            def ask(actor: Any, number: int, place: int = place) -> Any:
                found[number, place], there = actor.labels.options(num_returns=2).remote(place)
                return there

            self._ask(ask)
        return [found[n, place] for n, share in enumerate(self._shares) for place in range(len(share.pieces))]

    def processes(self) -> list[tuple[int, list[str]]]:
        """(process id, heavy libraries it has loaded) of every holder."""
        return self._ask(lambda actor, _: actor.process.remote())

    def _ask(self, question: _Question) -> list[Any]:
        """Every holder's answer, in order; all work at once."""
        asked = [question(hired.actor, number) for number, hired in enumerate(self._hired)]
        return [self._answer(number, answer, question) for number, answer in enumerate(asked)]

    def _answer(self, number: int, answer: Any, question: _Question) -> Any:
        """A holder's answer; one that was lost is replaced, and the new one is asked again."""
        while True:
            try:
                ray.get(self._hired[number].ready)
                return ray.get(answer)
            except _LOST as error:
                self._replace(number, error)
                answer = question(self._hired[number].actor, number)
            except RayTaskError as error:
                mistake = isinstance(error.cause, ValueError)
                raise (ValueError(str(error.cause)) if mistake else error) from None

    def _replace(self, number: int, error: RayError) -> None:
        ray.kill(self._hired[number].actor)  # one that merely cannot be reached must not go on
        self._losses[number] += 1
        if self._losses[number] >= MOST_LOSSES:
            raise ValueError(
                f"pseudo_labels.backend: an EM worker was lost {MOST_LOSSES} times ({one_line(error)}); give "
                "its node more memory or set pseudo_labels.backend=inline"
            ) from None
        self._hired[number] = self._hire(self._shares[number])

    def close(self) -> None:
        """End the holders; nothing can be asked any more, and σ is not kept."""
        for hired in self._hired:
            ray.kill(hired.actor)
        self._hired, self._shares, self._history = [], [], []

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
    """`training.context.HeldRows` in actors, checked and at their start. ValueError: see `RayRows.start`."""

    def __init__(self, rows: RayRows) -> None:
        with ExitStack() as closing:
            closing.enter_context(rows)
            rows.start()
            closing.pop_all()
        self._rows = rows
        self.sums, self.advance, self.gaps = rows.sums, rows.advance, rows.gaps

    def finish(self) -> list[np.ndarray]:
        """See `HeldRows`: views of the object store, the actors end."""
        with self._rows:
            labels = self._rows.labels()
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
    check_weight(fairness_weight)
    check_slack(prior_slack)
    limits = check_limits(max_iterations, tolerance, gap_tolerance)
    shares = check_prior(prior, num_clusters, OBJECTIVE)
    described = _checked_pieces(pieces, rows)
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers: {one_line(workers)} is not an integer >= 1; give a number of processes")
    with RayRows(
        described,
        num_points=sum(rows),
        fairness_weight=fairness_weight,
        workers=workers,
        memory_limit=memory_limit,
    ) as held:
        held.start()
        columns = held.sums().shape[1]
        if columns != num_clusters:
            raise ValueError(f"num_clusters: {num_clusters}, but probs has {columns} columns; give {columns}")
        result = estimate_spread(
            held,
            num_points=sum(rows),
            prior=shares,
            fairness_weight=float(fairness_weight),
            prior_slack=float(prior_slack),
            limits=limits,
        )
        gap = result.certify()
        labels = held.labels()
    return labels, result, gap


def _checked_pieces(pieces: Sequence[ray.ObjectRef], rows: Sequence[int]) -> list[Piece]:
    """The pieces of a whole problem. ValueError unless they are cut at groups."""
    if len(pieces) != len(rows) or not rows or min(rows) < 1:
        raise ValueError(
            f"rows: {one_line(list(rows))} does not fit {len(pieces)} pieces; give the rows of each, >= 1"
        )
    step = group_rows(sum(rows))
    for number, count in enumerate(rows[:-1]):
        if count % step:
            raise ValueError(f"rows: piece {number} has {count} rows; give multiples of {step}, a group")
    starts = [0, *accumulate(rows)]
    return [Piece(*piece) for piece in zip(pieces, starts[:-1], rows, strict=True)]
