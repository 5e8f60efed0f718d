"""The value of a setting as a person types it after `key=`."""

from __future__ import annotations

import json
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from cce_ray.files import UniqueKeyLoader


def typed_value(text: str, kinds: Set[Any]) -> Any:
    """Read `text` as the value of a setting that takes values of `kinds` (see `plain_types`).

    Paths, URIs and names are taken as typed, whatever they look like to YAML ('o/run #7', '2024', 'on'); a
    setting that may be empty is emptied by 'null' or by nothing. A list of names may have brackets or none.
    Every other value is read as YAML.
    """
    if kinds and kinds <= {str, Path, NoneType}:
        return None if NoneType in kinds and text in ("", "null") else text
    try:
        value = yaml.load(text, UniqueKeyLoader)
    except Exception:  # whatever is not YAML, however deep, is text; the setting's own check refuses it
        return text
    if kinds and kinds <= {tuple[str, ...], NoneType} and value is not None:
        return _names_of(text)
    return value


def _names_of(text: str) -> list[str]:
    """The names in 'a, b' or '[a, b]', as typed; a JSON list of texts may hold names with commas."""
    with suppress(ValueError):
        names = json.loads(text)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    return [name.strip() for name in inner.split(",") if name.strip()]


def plain_types(annotation: Any) -> set[Any]:
    """The types in an annotation, without what unions, constraints and choices add: {str, NoneType}, say."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return plain_types(inner[0])
    if origin in (Union, UnionType):
        return {member for part in inner for member in plain_types(part)}
    if origin is Literal:
        return {type(value) for value in inner}
    return {annotation}
