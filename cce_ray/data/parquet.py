"""Embeddings in Parquet: in order straight from the file, at random from a temporary memory-mapped copy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from cce_ray.data.array_files import FiniteCheck, first_line, scratch_folder
from cce_ray.data.samples import MappedSamples, Samples

if TYPE_CHECKING:
    import pyarrow as pa

LIST_COLUMNS = ("features", "embedding", "embeddings", "x", "data")
LABEL_COLUMNS = ("labels", "label", "y")
ROW_NUMBER_COLUMNS = ("__index_level_0__", "index", "id")
BLOCK_ROWS = 4096


@final
@dataclass(frozen=True)
class Table:
    """What a Parquet file gives."""

    samples: Samples
    labels: np.ndarray | None
    notes: tuple[str, ...]


def open_parquet(path: Path, key: str | None, label_key: str | None) -> Table:
    """Embeddings from one list column or from all numeric columns, and labels if there are any.

    Args:
        path: the file.
        key: the list column; None: the usual names, the only list column, else the numeric columns.
        label_key: the label column; None: ``LABEL_COLUMNS``.

    Raises:
        ValueError: a damaged file, unknown columns, lists of different lengths, no numbers at all.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        label_column = _label_column(path, file.schema_arrow, label_key)
        columns, ignored = _feature_columns(path, file.schema_arrow, key, label_column)
        samples = ParquetSamples(path, columns)
        labels = None
        if label_column is not None:
            labels = file.read(columns=[label_column]).column(0).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ValueError(
            f"data.path: '{path}' cannot be read as Parquet ({first_line(error)}); write it again"
        ) from error
    notes = (f"columns not used as features: {', '.join(ignored)}",) if ignored else ()
    return Table(samples, labels, notes)


def _label_column(path: Path, schema: pa.Schema, label_key: str | None) -> str | None:
    if label_key is None:
        return next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if label_key not in schema.names:
        raise ValueError(
            f"data.label_key: '{path}' has no column '{label_key}'; it has {', '.join(schema.names)[:200]}"
        )
    return label_key


def _feature_columns(
    path: Path, schema: pa.Schema, key: str | None, label_column: str | None
) -> tuple[list[str], list[str]]:
    """(columns of features, columns left aside)."""
    import pyarrow as pa

    def is_number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))

    def is_list(kind: pa.DataType) -> bool:
        lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
        return any(test(kind) for test in lists) and is_number(kind.value_type)

    if key is not None and (key not in schema.names or not is_list(schema.field(key).type)):
        raise ValueError(
            f"data.key: '{path}' has no list column '{key}'; it has {', '.join(schema.names)[:200]}"
        )
    lists = [field.name for field in schema if is_list(field.type)]
    usual = [name for name in LIST_COLUMNS if name in lists]
    if key is None and len(lists) > 1 and not usual:
        raise ValueError(f"data.key: '{path}' has list columns {', '.join(lists)[:200]}; name one")
    if key is not None or lists:
        chosen = [key or (usual or lists)[0]]
    else:
        aside = (label_column, *ROW_NUMBER_COLUMNS)
        chosen = [field.name for field in schema if is_number(field.type) and field.name not in aside]
    if not chosen:
        raise ValueError(f"data.path: '{path}' has neither a list column nor numeric ones; add embeddings")
    return chosen, [name for name in schema.names if name not in (*chosen, label_column)]


@final
class ParquetSamples:
    """Embeddings (D,) float32 that stay in a Parquet file.

    Reads of consecutive rows follow the row groups. The first read at random writes all embeddings to a
    temporary file, because Parquet decodes whole row groups.
    """

    array = None
    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, columns: list[str]) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._columns = columns
        self._file = pq.ParquetFile(path)
        self._lock = threading.Lock()
        self._check = FiniteCheck(path, images=False)
        self._copy: MappedSamples | None = None
        self._blocks: Iterator[np.ndarray] = iter(())
        self._pending = np.empty((0, 0), dtype=np.float32)
        self._next_row = -1
        self._dimensions: int | None = None
        first = next(self._blocks_from(0, block_rows=1), None)
        if first is None:
            raise ValueError(f"data.path: '{path}' has no rows; give a file that has some")
        self._dimensions = first.shape[1]
        self.shape = (self._dimensions,)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``."""
        with self._lock:
            if not len(indices):
                return np.empty((0, *self.shape), dtype=np.float32)
            if self._copy is None and (np.diff(indices) == 1).all():
                block = self._consecutive(int(indices[0]), len(indices))
                self._check(block, indices)
                return block
            if self._copy is None:
                self._copy = self._written()
        return self._copy.read(indices)

    def _consecutive(self, start: int, count: int) -> np.ndarray:
        if start != self._next_row:
            self._blocks, self._pending = self._blocks_from(start), self._pending[:0]
        self._next_row = -1  # Should a block fail to decode, the next read starts afresh.
        pieces, missing = [], count
        while missing:
            if not len(self._pending):
                self._pending = next(self._blocks)
            pieces.append(self._pending[:missing])
            self._pending = self._pending[missing:]
            missing -= len(pieces[-1])
        self._next_row = start + count
        return np.concatenate(pieces)

    def _blocks_from(self, start: int, block_rows: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
        """Blocks (n, D) float32 from row ``start`` to the end."""
        groups: list[int] = []
        skip, row = start, 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if not groups and skip >= rows:
                skip, row = skip - rows, row + rows
            else:
                groups.append(group)
        for batch in self._file.iter_batches(block_rows, row_groups=groups, columns=self._columns):
            block = self._embeddings(batch, row)
            row += len(block)
            if skip < len(block):
                yield block[skip:]
            skip = max(0, skip - len(block))

    def _embeddings(self, batch: pa.RecordBatch, row: int) -> np.ndarray:
        import pyarrow as pa

        if not hasattr(batch.column(0).type, "value_type"):
            columns = [
                batch.column(place).to_numpy(zero_copy_only=False) for place in range(batch.num_columns)
            ]
            return np.stack([column.astype(np.float32) for column in columns], axis=1)
        lists = batch.column(0)
        lengths = (
            set(lists.value_lengths().to_pylist())
            if not pa.types.is_fixed_size_list(lists.type)
            else {lists.type.list_size}
        )
        wanted = {self._dimensions} if self._dimensions is not None else lengths
        if lists.null_count or lengths != wanted or len(lengths) != 1:
            raise ValueError(
                f"data.path: '{self._path}' has missing embeddings or lengths {sorted(map(str, lengths))} in "
                f"column '{self._columns[0]}' near row {row}; give every row one of the same length"
            )
        values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        return values.reshape(len(lists), -1)

    def _written(self) -> MappedSamples:
        shape = (len(self), *self.shape)
        with scratch_folder(4 * shape[0] * shape[1]) as folder:
            copy = np.lib.format.open_memmap(Path(folder) / "copy.npy", "w+", dtype=np.float32, shape=shape)
            row = 0
            for block in self._blocks_from(0):
                self._check(block, np.arange(row, row + len(block)))
                copy[row : row + len(block)] = block
                row += len(block)
        return MappedSamples(copy, self._check)
