"""Embeddings in Parquet: in order straight from the file, at random from the node's memory-mapped copy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, final

import numpy as np

from cce_ray.data.storage.array_files import FiniteCheck
from cce_ray.data.storage.node_copy import identity, node_copy
from cce_ray.data.storage.parquet_vectors import floats, is_number, vectors
from cce_ray.data.storage.reading import reading
from cce_ray.data.storage.reopening import must_exist, must_match
from cce_ray.data.storage.samples import MappedSamples

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BLOCK_ROWS = 4096
_STREAM_BYTES = 8 * 2**20
"""Read ahead of decoding, shared by the columns: without such a bound Arrow fetches whole row groups."""
_JUMPS = 16
"""Reads that may start elsewhere than where the last one ended before the copy is worth its while."""


@contextmanager
def parquet_file(path: Path, num_columns: int = 1) -> Iterator[pq.ParquetFile]:
    """The file, to read ``num_columns`` of it; ValueError, one line, for failures to read within.

    Checksums of pages are compared where the writer has added them.
    """
    import pyarrow.parquet as pq

    buffer_size = max(_STREAM_BYTES // max(1, num_columns), 2**16)
    with (
        reading(path, "Parquet", remedy="write it again"),
        pq.ParquetFile(
            path, pre_buffer=False, buffer_size=buffer_size, page_checksum_verification=True
        ) as file,
    ):
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        if sum(groups) != file.metadata.num_rows or min(groups, default=0) < 0:
            raise ValueError(f"it claims {file.metadata.num_rows} rows, and {sum(groups)} in its parts")
        yield file


@final
class ParquetSamples:
    """Embeddings (D,) float32 that stay in a Parquet file.

    Reads of consecutive rows follow the row groups. The first read at random writes all embeddings to a copy,
    one for all processes of the node, because Parquet decodes whole row groups.

    Args:
        path: the file.
        columns: one list column, or the numeric columns that make up an embedding.
        size: (N, D) where it is known; the file is then opened at the first read.

    Raises:
        ValueError: a damaged file, no rows, no embeddings in them.
    """

    array = None
    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, columns: list[str], size: tuple[int, int] | None = None) -> None:
        self._path = path
        self._columns = columns
        self._check = FiniteCheck(path, images=False)
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._jumps = 0
        self._copy: MappedSamples | None = None
        self._size = size or self._measured()
        self.shape = self._size[1:]

    def __len__(self) -> int:
        return self._size[0]

    def __reduce__(self) -> tuple[type[ParquetSamples], tuple[Any, ...]]:
        return ParquetSamples, (self._path, self._columns, self._size)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``."""
        if not len(indices):
            return np.empty((0, *self.shape), dtype=np.float32)
        with self._lock:
            if self._copy is None and self._in_order(indices):
                block = self._consecutive(int(indices[0]), len(indices))
                self._check(block, indices)
                return block
            if self._copy is None:
                self._copy, self._stream = self._copied(), None
        return self._copy.read(indices)

    def _in_order(self, indices: np.ndarray) -> bool:
        """Consecutive rows; but single ones here and there are so too, and each decodes a row group."""
        self._jumps += self._stream is None or self._stream.next_row != indices[0]
        return bool((np.diff(indices) == 1).all()) and self._jumps <= _JUMPS

    def _consecutive(self, start: int, count: int) -> np.ndarray:
        # Set aside: should a block fail to decode, the next read starts afresh.
        stream, self._stream = self._stream, None
        if stream is None or stream.next_row != start:
            stream = _Stream(self._blocks(start), start)
        block = stream.take(count)
        if stream.next_row < len(self):  # Else the file is let go.
            self._stream = stream
        return block

    def _copied(self) -> MappedSamples:
        """All embeddings, to be read at random."""
        must_exist(self._path)
        origin = (*identity(self._path), "float32", *self._columns)
        return MappedSamples(node_copy(origin, 4 * self._size[0] * self._size[1], self._write), self._check)

    def _write(self, file: BinaryIO) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": self._size}
        np.lib.format.write_array_header_1_0(file, header)
        row = 0
        for block in self._blocks(0):
            self._check(block, np.arange(row, row + len(block)))
            file.write(np.ascontiguousarray(block).data)
            row += len(block)

    def _blocks(self, start: int) -> Iterator[np.ndarray]:
        """Blocks (n, D) float32 from row ``start`` to the end."""
        must_exist(self._path)
        with parquet_file(self._path, len(self._columns)) as file:
            must_match(self._path, f"{file.metadata.num_rows} rows", f"{len(self)} rows")
            groups: list[int] = []
            skip, row = start, 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if not groups and skip >= rows:
                    skip, row = skip - rows, row + rows
                else:
                    groups.append(group)
            for batch in file.iter_batches(BLOCK_ROWS, row_groups=groups, columns=self._columns):
                batch = batch.select(self._columns)  # the file's order, else
                block = self._embeddings(batch, row, set(self.shape))
                row += len(block)
                if skip < len(block):
                    yield block[skip:]
                skip = max(0, skip - len(block))
            if row != len(self):
                raise ValueError(f"it claims {len(self)} rows and has {row}")

    def _measured(self) -> tuple[int, int]:
        with parquet_file(self._path, len(self._columns)) as file:
            batch = next(file.iter_batches(1, columns=self._columns), None)
            if batch is None:
                raise ValueError(f"data.path: '{self._path}' has no rows; give a file that has some")
            return int(file.metadata.num_rows), self._embeddings(batch.select(self._columns), 0).shape[1]

    def _embeddings(self, batch: pa.RecordBatch, row: int, length: set[int] | None = None) -> np.ndarray:
        """(n, D) float32 of the rows from ``row`` on, whose lists must be of ``length``, or of one length."""
        if is_number(batch.column(0).type):
            return np.stack([floats(column) for column in batch.columns], axis=1)
        try:
            block = vectors(batch.column(0))
            if length is not None and {block.shape[1]} != length:
                raise ValueError(f"missing embeddings or lengths {block.shape[1]}, {length.pop()}")
        except ValueError as error:
            raise ValueError(
                f"data.path: '{self._path}' has {error} in column '{self._columns[0]}' near row {row}; give "
                "every row one of the same length"
            ) from None
        return block


@final
class _Stream:
    """Rows one after the other, however the blocks (n, D) that they come in are cut."""

    def __init__(self, blocks: Iterator[np.ndarray], next_row: int) -> None:
        self._blocks = blocks
        self._pending = np.empty((0, 0), dtype=np.float32)
        self.next_row = next_row

    def take(self, count: int) -> np.ndarray:
        """The next ``count`` rows."""
        pieces, missing = [], count
        while missing:
            if not len(self._pending):
                self._pending = next(self._blocks)
            pieces.append(self._pending[:missing])
            self._pending = self._pending[missing:]
            missing -= len(pieces[-1])
        self.next_row += count
        return np.concatenate(pieces)
