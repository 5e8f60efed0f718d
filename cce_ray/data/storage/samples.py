"""Random access to raw samples: the one interface between a source and the batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, final

import numpy as np

PIECE_BYTES = 64 * 2**20
_GATHER_BYTES = 2**18


class Samples(Protocol):
    """N samples that any thread may read in any order.

    All of them can be pickled. Those in RAM carry their array, which pickle's protocol 5 hands over out of
    band, so that several processes can share one array, read-only. Those on disk carry where they lie and are
    opened again at the first read: ValueError where the other machine does not see the same files.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (D,) for embeddings, (C, H, W) for images."""

    @property
    def dtype(self) -> np.dtype:
        """What ``read`` returns: uint8 (images) or float32 (embeddings; images in [0, 1])."""

    @property
    def array(self) -> np.ndarray | None:
        """All samples, (N, *shape) in ``dtype``, where they lie decoded in RAM; else None."""

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Samples ``indices`` (B,) int64 as a contiguous array (B, *shape).

        Raises ValueError, one line, when a sample cannot be read or is not finite.
        """


@final
class ArraySamples:
    """Samples that lie decoded in RAM.

    ``array`` is (N, *shape), uint8 or float32; callers have checked that it is finite.
    """

    def __init__(self, array: np.ndarray) -> None:
        assert array.dtype in (np.uint8, np.float32), array.dtype
        self.array: np.ndarray = np.ascontiguousarray(array)
        self.shape = self.array.shape[1:]
        self.dtype = self.array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``."""
        return self.array[indices]


@final
class MappedSamples:
    """Samples of a memory-mapped array, converted as they are read.

    Args:
        mapped: (N, *shape) of any kind of number, its axes in the order of ``shape``.
        check: refuses a block of converted samples (ValueError) given it and its rows.
        reopen: gives the same array in another process; without it the samples cannot be pickled.
    """

    array = None

    def __init__(
        self,
        mapped: np.ndarray,
        check: Callable[[np.ndarray, np.ndarray], None],
        reopen: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self._mapped: np.ndarray | None = np.asarray(mapped)  # A memmap slices slowly.
        self._check = check
        self._reopen = reopen
        self._count = len(mapped)
        self.shape = mapped.shape[1:]
        self.dtype = _sample_dtype(mapped.shape[1:], mapped.dtype)

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        assert self._reopen is not None, "a mapped array must never be pickled by value"
        return {**self.__dict__, "_mapped": None}

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``. Rows are fetched in the order of the file, so that the disk reads forward."""
        if self._mapped is None:
            assert self._reopen is not None
            self._mapped = np.asarray(self._reopen())
        order = np.argsort(indices, kind="stable")
        block = np.empty((len(indices), *self.shape), dtype=self.dtype)
        # In pieces: a second whole block would double the memory, and most of the time went into its pages.
        rows = max(1, _GATHER_BYTES * len(indices) // max(1, block.nbytes))
        with np.errstate(over="ignore"):  # An overflow becomes inf, which the check reports with its row.
            for start in range(0, len(indices), rows):
                places = order[start : start + rows]
                block[places] = self._mapped[indices[places]]
        self._check(block, indices)
        return block


@final
class SubsetSamples:
    """Some samples of another source, renumbered from 0."""

    array = None

    def __init__(self, samples: Samples, rows: np.ndarray) -> None:
        self._samples = samples
        self._rows = rows
        self.shape = samples.shape
        self.dtype = samples.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``."""
        return self._samples.read(self._rows[indices])


def _sample_dtype(shape: tuple[int, ...], stored: np.dtype) -> np.dtype:
    """The dtype in which numbers of a sample stored as ``stored`` are handed out."""
    return np.dtype(np.uint8 if stored == np.uint8 and len(shape) == 3 else np.float32)


def decoded_bytes(samples: Samples) -> int:
    """Bytes of all samples as ``read`` returns them."""
    return len(samples) * math.prod(samples.shape) * samples.dtype.itemsize


def in_memory(samples: Samples, memory_limit: int) -> Samples:
    """The samples, read into RAM when they fit into ``memory_limit`` bytes."""
    if samples.array is not None or decoded_bytes(samples) > memory_limit:
        return samples
    array = np.empty((len(samples), *samples.shape), dtype=samples.dtype)
    # In pieces, because the stored form (float64, say) would otherwise stand beside the whole decoded one.
    rows = max(1, PIECE_BYTES * len(samples) // max(1, array.nbytes))
    for start in range(0, len(samples), rows):
        piece = np.arange(start, min(start + rows, len(samples)))
        array[piece[0] : piece[-1] + 1] = samples.read(piece)
    return ArraySamples(array)
