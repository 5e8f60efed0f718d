"""Which columns of a Parquet file are features, labels and ids."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from cce_ray.data.storage.column_names import FILE_COLUMN, looks_like_ids, looks_like_labels
from cce_ray.data.storage.parquet_samples import ParquetSamples, parquet_file
from cce_ray.data.storage.parquet_vectors import (
    FORMS,
    begins_with_vector,
    is_number,
    is_opaque,
    is_text,
    is_vector,
)
from cce_ray.data.storage.sample_ids import ids_of
from cce_ray.data.storage.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_VECTOR_COLUMNS = ("features", "embedding", "embeddings", "x", "data")
"""Columns of vectors with these names are features before others."""
_LABEL_COLUMNS = ("labels", "label", "y")
"""Used for scores without being named."""
NAMED = 5
"""So many columns are named in a note."""


@final
@dataclass(frozen=True)
class Request:
    """Which columns the user, or the model that will label the rows, asks for; None: chosen here."""

    key: str | None = None
    columns: tuple[str, ...] | None = None
    label_key: str | None = None
    id_key: str | None = None
    labelled: bool = True
    """Whether labels are read; without, their columns are left out of the features all the same."""


def open_parquet(path: Path, request: Request) -> Shard:
    """Embeddings from one column of vectors or from columns of numbers; labels and ids if there are any.

    What looks like labels or ids is never a feature unless it is asked for by name, and where a column may
    hold embeddings in a form that is not understood, no other column takes its place.

    Raises:
        ValueError: a damaged file, unknown columns, a form that is not understood, no numbers at all.
    """
    with parquet_file(path) as file:
        table = _Table(path, file, request)
        columns, notes = table.features()
        samples = ParquetSamples(path, columns)
        labels = table.labels()
        ids, files = table.ids(), table.files()
    numbers = is_number(table.schema.field(columns[0]).type)
    return Shard(
        path,
        samples,
        labels,
        columns=tuple(columns) if numbers else (),
        key="" if numbers else columns[0],
        ids=ids,
        files=files,
        one_each=files is not None,
        notes=notes,
    )


@final
class _Table:
    """The columns of one open file, by what they are for."""

    def __init__(self, path: Path, file: pq.ParquetFile, request: Request) -> None:
        self.path, self.file, self.request = path, file, request
        self.schema: pa.Schema = file.schema_arrow
        self.names: list[str] = self.schema.names
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"data.path: '{path}' has several columns '{repeated[0]}'; give each a name of its own"
            )
        self.label_column = self._label_column()
        self.id_column = self._known("data.id_key", request.id_key)

    def features(self) -> tuple[list[str], tuple[str, ...]]:
        """(columns of features, notes on the others)."""
        if self.request.columns is not None:
            return self._named_columns(self.request.columns), ()
        if self.request.key is not None:
            chosen = [self._vector_column(self.request.key)]
        elif vector := self._usual_vector():
            chosen = [vector]
        else:
            return self._loose_columns()
        return chosen, self._left_out(chosen, ())

    def labels(self) -> np.ndarray | None:
        """(N,) as they are in the file."""
        if not self.request.labelled or self.label_column is None:
            return None
        return np.asarray(self._column(self.label_column).to_numpy())

    def ids(self) -> np.ndarray | None:
        """(N,) int64, or text as objects."""
        if self.id_column is None:
            return None
        column = self._column(self.id_column)
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise ValueError(
                f"data.id_key: column '{self.id_column}' of '{self.path}' is empty in row {row}; give every "
                "row an id"
            )
        return ids_of(column.to_numpy(), f"data.id_key: column '{self.id_column}' of '{self.path}'")

    def files(self) -> Sequence[str] | None:
        """The image that each row comes from, where every row has one of its own."""
        if FILE_COLUMN not in self.names or not is_text(self.schema.field(FILE_COLUMN).type):
            return None
        column = self._column(FILE_COLUMN)
        return None if column.null_count or len(column.unique()) < len(column) else Texts(column)

    def _column(self, name: str) -> pa.ChunkedArray:
        return self.file.read(columns=[name]).column(0)

    def _known(self, setting: str, name: str | None) -> str | None:
        if name is not None and name not in self.names:
            raise ValueError(f"{setting}: '{self.path}' has no column '{name}'; it has {self._all_names()}")
        return name

    def _all_names(self) -> str:
        return ", ".join(self.names)[:200]

    def _label_column(self) -> str | None:
        if self.request.label_key is None:
            return next((name for name in _LABEL_COLUMNS if name in self.names), None)
        if not self.request.labelled and self.request.label_key not in self.names:
            return None
        return self._known("data.label_key", self.request.label_key)

    def _named_columns(self, given: tuple[str, ...]) -> list[str]:
        names = list(dict.fromkeys(name for pattern in given for name in self._matching(pattern)))
        missing = [name for name in names if name not in self.names]
        if missing:
            known = set(names) | {self.label_column, self.id_column, FILE_COLUMN}
            others = [name for name in self.names if name not in known]
            raise ValueError(
                f"data.columns: '{self.path}' lacks {_some(missing)}"
                + (f" and has {_some(others)} besides" if others else "")
                + "; rename its columns as they were, or set data.columns"
            )
        kinds = [self.schema.field(name).type for name in names]
        if len(names) == 1 and (is_vector(kinds[0]) or is_text(kinds[0])):
            return [self._vector_column(names[0])]
        wrong = next((name for name, kind in zip(names, kinds, strict=True) if not is_number(kind)), None)
        if wrong is not None:
            raise ValueError(
                f"data.columns: column '{wrong}' of '{self.path}' holds {self.schema.field(wrong).type}, not "
                "numbers; leave it out"
            )
        return names

    def _matching(self, pattern: str) -> list[str]:
        """The columns that a name, or a pattern with * and ?, matches in the file's order; itself if none."""
        if pattern in self.names or not set(pattern) & {"*", "?"}:
            return [pattern]
        expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
        return [name for name in self.names if re.fullmatch(expression, name, re.DOTALL)] or [pattern]

    def _vector_column(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(
                f"data.key: '{self.path}' has no list column '{name}'; it has {self._all_names()}: name one"
            )
        if not self._holds_vectors(name):
            kind = self.schema.field(name).type
            raise ValueError(f"data.key: column '{name}' of '{self.path}' holds {kind}; save it as {FORMS}")
        return name

    def _holds_vectors(self, name: str) -> bool:
        kind = self.schema.field(name).type
        return is_vector(kind) or (is_text(kind) and self._text_vectors(name))

    def _text_vectors(self, name: str) -> bool:
        batches = self.file.iter_batches(64, columns=[name])
        return any(
            begins_with_vector(batch.column(0)) for batch in [next(batches, None)] if batch is not None
        )

    def _usual_vector(self) -> str | None:
        """The column of vectors to use unless one is named; None where all columns are plain values.

        Raises ValueError where there are several, or one that may hold vectors cannot be read.
        """
        aside = (self.label_column, self.id_column, FILE_COLUMN)
        others = [name for name in self.names if name not in aside]
        found = [name for name in others if self._holds_vectors(name)]
        usual = [name for name in _VECTOR_COLUMNS if name in found]
        if usual:
            return usual[0]
        if len(found) > 1:
            raise ValueError(f"data.key: '{self.path}' has list columns {', '.join(found)[:200]}; name one")
        if found:
            return found[0]
        unclear = [
            name
            for name in others
            if is_opaque(self.schema.field(name).type)
            or (name in _VECTOR_COLUMNS and not is_number(self.schema.field(name).type))
        ]
        if unclear:
            kind = str(self.schema.field(unclear[0]).type)[:60]
            raise ValueError(
                f"data.key: column '{unclear[0]}' of '{self.path}' holds {kind}, which cannot be read as "
                f"embeddings; save it as {FORMS}, or name the features with data.columns"
            )
        return None

    def _loose_columns(self) -> tuple[list[str], tuple[str, ...]]:
        """Every column of numbers that looks neither like labels nor like ids."""
        index = _index_columns(self.schema)
        numbers = [name for name in self.names if is_number(self.schema.field(name).type)]
        numbers = [name for name in numbers if name not in (self.label_column, self.id_column)]
        labels = [name for name in numbers if looks_like_labels(name)]
        ids = [name for name in numbers if name in index or looks_like_ids(name)]
        features = [name for name in numbers if name not in labels and name not in ids]
        if not features:
            aside = f" besides {_some([*labels, *ids])}" if labels or ids else ""
            raise ValueError(
                f"data.path: '{self.path}' has neither a list column nor numeric ones{aside}; add some, or "
                "name the features with data.columns"
            )
        notes = []
        if labels:
            notes.append(
                f"{_some(labels)}: left out of the features as labels; data.label_key={labels[0]} scores by "
                "them, data.columns chooses the features"
            )
        news = [name for name in ids if name not in index and name != FILE_COLUMN]
        if news:
            notes.append(
                f"{_some(news)}: left out of the features as ids; data.id_key={news[0]} keeps them in the "
                "results, data.columns chooses the features"
            )
        return features, (*notes, *self._left_out(features, (*labels, *ids)))

    def _left_out(self, chosen: Sequence[str], said: Sequence[str]) -> tuple[str, ...]:
        """The note on other columns that are not used, but for ids, which are not expected among features."""
        aside = {*chosen, *said, self.label_column, self.id_column, *_index_columns(self.schema)}
        others = [name for name in self.names if name not in aside and not looks_like_ids(name)]
        return (f"columns not used as features: {_some(others)}",) if others else ()


@final
class Texts(Sequence[str]):
    """A column of texts, kept as Arrow holds it."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._column[index].to_pylist()
        return self._column[int(index)].as_py()


def _index_columns(schema: pa.Schema) -> set[str]:
    """Columns that pandas wrote for the index of the table."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        return {name for name in stored.get("index_columns", []) if isinstance(name, str)}
    except (ValueError, AttributeError, TypeError):
        return set()


def _some(names: Sequence[str]) -> str:
    """A few names, quoted, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more
