"""Columns of a Parquet table that hold one vector a row, in the forms in which people save embeddings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

FORMS = "lists or fixed-shape tensors of numbers, lists of such lists, or JSON text"


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds one number a row."""
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    import pyarrow as pa

    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds vectors by its type alone: lists, lists of lists, tensors."""
    import pyarrow as pa

    if isinstance(kind, pa.FixedShapeTensorType):
        return is_number(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return is_vector(kind.storage_type)
    if not _is_list(kind):
        return False
    inner = kind.value_type
    return is_number(inner) or (_is_list(inner) and is_number(inner.value_type))


def is_opaque(kind: pa.DataType) -> bool:
    """Whether values of this type may hold an embedding that cannot be read: bytes, structs, deep nesting."""
    import pyarrow as pa

    plain = (
        is_number,
        is_text,
        is_vector,
        pa.types.is_temporal,
        pa.types.is_decimal,
        pa.types.is_dictionary,
        pa.types.is_null,
    )
    return not any(test(kind) for test in plain)


def begins_with_vector(column: pa.Array) -> bool:
    """Whether the first text of a column that is there is a JSON list of numbers."""
    first = next((text for text in column.to_pylist() if text is not None), None)
    return first is not None and _parsed(first) is not None


def vectors(column: pa.Array) -> np.ndarray:
    """One vector a row, (n, D) float32; missing numbers are NaN.

    Raises:
        ValueError: missing rows, lengths that differ, text that is not a JSON list of numbers. The message
            says what is wrong, not where.
    """
    import pyarrow as pa

    if isinstance(column, pa.FixedShapeTensorArray):
        if column.null_count:
            raise ValueError("missing embeddings")
        return np.asarray(column.to_numpy_ndarray(), dtype=np.float32).reshape(len(column), -1)
    if isinstance(column, pa.ExtensionArray):
        return vectors(column.storage)
    if is_text(column.type):
        return _of_text(column)
    values, width = column, 1
    while _is_list(values.type):
        width *= _length(values)
        values = values.flatten()
    return floats(values).reshape(len(column), width)


def floats(column: pa.Array) -> np.ndarray:
    """Numbers as float32, missing ones as NaN."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):  # else missing ones would be None
        column = column.cast(pa.uint8())
    values: np.ndarray = column.to_numpy(zero_copy_only=False).astype(np.float32)
    return values


def _length(lists: pa.Array) -> int:
    """How long every list is."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(lists.type):
        lengths = {lists.type.list_size}
    else:
        lengths = set(lists.value_lengths().to_pylist())
    if lists.null_count or len(lengths) > 1:
        raise ValueError(f"missing embeddings or lengths {', '.join(sorted(map(str, lengths)))[:80]}")
    return int(lengths.pop()) if lengths else 0


def _of_text(column: pa.Array) -> np.ndarray:
    rows = []
    for text in column.to_pylist():
        row = None if text is None else _parsed(text)
        if row is None:
            raise ValueError(f"missing embeddings or text that is not a JSON list of numbers ({text!r:.40})")
        rows.append(row)
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"missing embeddings or lengths {', '.join(sorted(map(str, lengths)))[:80]}")
    return np.array(rows, dtype=np.float32).reshape(len(rows), -1)


def _parsed(text: str) -> list[float] | None:
    """The numbers of a JSON list, also of one list within another; None for anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if not isinstance(values, list) or not values:
        return None
    numbers = [float("nan") if value is None else value for value in values]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return None
    return [float(value) for value in numbers]
