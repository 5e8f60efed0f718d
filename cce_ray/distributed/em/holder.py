"""The actor that holds a part of a data set for EM: σ in Ray's object store, y beside it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import ray

from cce_ray.pseudo_labels import EMRows, Inline, for_kernels, group_blocks, start_rows


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
    """Bytes of y that may lie in memory. Where a share has more, y lies in mapped scratch files (in TMPDIR)
    and σ is fetched piece by piece, so that Ray may spill it. None: no limit."""


class Holder:
    """The rows of some pieces, in a process of their own, which loads neither torch nor pandas."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._labels: list[np.ndarray] = []
        self._rows: list[EMRows] = []
        self._in_memory = True

    def catch_up(self, history: Sequence[np.ndarray]) -> str:
        """Make the start labels and do the iterations at these prices, which were done before.

        Returns:
            σ's `_kind_of`.

        Raises:
            ValueError: one line for a row that is no distribution, or a piece that does not fit.
        """
        for piece in self._share.pieces:
            rows = self._started(piece)
            for prices in history:
                rows.advance(prices)
            self._let_go(rows)
        return _kind_of(self._labels[0])

    def _started(self, piece: Piece) -> EMRows:
        share, probs = self._share, fetched(piece)
        labels = start_rows(probs, piece.first_row)
        if not self._labels:
            limit, bytes_a_row = share.memory_limit, labels[0].nbytes
            self._in_memory = limit is None or sum(part.rows for part in share.pieces) * bytes_a_row <= limit
            load_kernels(probs[:1], share.fairness_weight)
        elif (here := _kind_of(labels)) != (before := _kind_of(self._labels[0])):
            raise ValueError(f"probs: row {piece.first_row} has {here}, those before {before}; give one kind")
        self._labels.append(labels if self._in_memory else _in_file(labels))
        known = np.full(piece.rows, -1)
        group = group_blocks(share.num_points)
        self._rows.append(EMRows(probs, self._labels[-1], known, share.fairness_weight, group, Inline()))
        return self._rows[-1]

    def _let_go(self, rows: EMRows) -> None:
        """Only predictions that nobody maps can be spilled."""
        if not self._in_memory:
            rows.probs = None

    def _of_every_piece(self, question: Callable[[EMRows], np.ndarray]) -> np.ndarray:
        answers = []
        for piece, rows in zip(self._share.pieces, self._rows, strict=True):
            rows.probs = fetched(piece) if rows.probs is None else rows.probs
            answers.append(question(rows))
            self._let_go(rows)
        return np.concatenate(answers)

    def sums(self) -> np.ndarray:
        """See `Rows`."""
        return np.concatenate([rows.sums() for rows in self._rows])

    def advance(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        return self._of_every_piece(lambda rows: rows.advance(prices))

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        """See `Rows`."""
        return self._of_every_piece(lambda rows: rows.gaps(prices))

    def labels(self, number: int) -> tuple[np.ndarray | None, bool]:
        """y of piece `number`, if there is one, and a word that it is there."""
        return self._labels[number] if number < len(self._labels) else None, True

    def process(self) -> tuple[int, list[str]]:
        """Its id, and the heavy libraries it has loaded."""
        return os.getpid(), [name for name in ("torch", "pandas", "sklearn") if name in sys.modules]


def fetched(piece: Piece) -> np.ndarray:
    """σ of a piece, a view of the object store. ValueError if it is not what it should be."""
    probs = ray.get(piece.reference)
    fits = isinstance(probs, np.ndarray) and probs.ndim == 2 and len(probs) == piece.rows
    if not fits or probs.dtype not in (np.float32, np.float64):
        found = f"{probs.dtype} {probs.shape}" if isinstance(probs, np.ndarray) else type(probs).__name__
        raise ValueError(
            f"probs: the piece from row {piece.first_row} on is {found}; give an array of {piece.rows} rows "
            "in float32 or float64"
        )
    return for_kernels(probs, probs.dtype.type)


def _kind_of(rows: np.ndarray) -> str:
    """What all pieces have in common."""
    return f"{rows.shape[1]} columns of {rows.dtype}"


def _in_file(labels: np.ndarray) -> np.ndarray:
    """The same in a mapped file that vanishes with this process."""
    with tempfile.TemporaryFile(prefix="cce_ray-labels-") as file:
        mapped = np.memmap(file, labels.dtype, "w+", shape=labels.shape)
    mapped[:] = labels
    return mapped.view(np.ndarray)


def load_kernels(row: np.ndarray, fairness_weight: float) -> None:
    """Compile the kernels for such rows, or load them: half a second, which no iteration should take."""
    rows = EMRows(row, start_rows(row, 0), np.full(1, -1), fairness_weight, 2, Inline())
    rows.gaps(rows.sums()[0])
    rows.advance(np.ones(row.shape[1]))
