"""The columns that say which sample a row of a result is about, the same in every file that is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from cce_ray.data import SampleIds


def id_fields(ids: SampleIds) -> list[tuple[str, pa.DataType]]:
    """`id`, int64 or text, and `file` where samples come from several files, as fields of a schema."""
    fields = [("id", pa.string() if ids.are_text else pa.int64())]
    return fields if ids.files is None else [*fields, ("file", pa.string())]


def id_columns(ids: SampleIds, rows: np.ndarray) -> dict[str, Any]:
    """The values of these columns for samples `rows` (n,)."""
    columns: dict[str, Any] = {"id": ids.column(rows)}
    if ids.files is not None:
        columns["file"] = [ids.files[int(row)] for row in rows]
    return columns
