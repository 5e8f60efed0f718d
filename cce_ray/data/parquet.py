"""Which columns of a Parquet file are embeddings and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cce_ray.data.parquet_samples import ParquetSamples, parquet_file
from cce_ray.data.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa

LIST_COLUMNS = ("features", "embedding", "embeddings", "x", "data")
LABEL_COLUMNS = ("labels", "label", "y")
ROW_NUMBER_COLUMNS = ("__index_level_0__", "index", "id")
IDENTITY_COLUMNS = (*ROW_NUMBER_COLUMNS, "file")
"""Nobody takes these for features: that they are left aside is no news."""


def open_parquet(path: Path, key: str | None, label_key: str | None) -> Shard:
    """Embeddings from one list column or from all numeric columns, and labels if there are any.

    Args:
        path: the file.
        key: the list column; None: the usual names, the only list column, else the numeric columns.
        label_key: the label column; None: ``LABEL_COLUMNS``.

    Raises:
        ValueError: a damaged file, unknown columns, lists of different lengths, no numbers at all.
    """
    with parquet_file(path) as file:
        label_column = _label_column(path, file.schema_arrow, label_key)
        columns, ignored = _feature_columns(path, file.schema_arrow, key, label_column)
        samples = ParquetSamples(path, columns)
        labels = None
        if label_column is not None:
            labels = file.read(columns=[label_column]).column(0).to_numpy()
    notes = (f"columns not used as features: {', '.join(ignored)}",) if ignored else ()
    return Shard(path, samples, labels, tuple(columns), notes)


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
    return chosen, [name for name in schema.names if name not in (*chosen, label_column, *IDENTITY_COLUMNS)]
