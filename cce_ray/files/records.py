"""Records: dataclasses kept as JSON files, whole or not at all."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from cce_ray.files.atomic import write_text

Record = TypeVar("Record")


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """The dataclass that `write_json` wrote as a mapping, None without a file; ValueError if damaged."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text.decode("utf-8"))
        record = kind(**values)
        _types_of(cast(Any, kind)).validate_python(values)
    except Exception as error:  # RecursionError for deeply nested lists, say
        raise ValueError(
            f"{path}: damaged, or of another version; delete it, and --resume makes it again"
        ) from error
    return record


@cache
def _types_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
