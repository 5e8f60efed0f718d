"""From a YAML run and overrides to a configuration: YAML run < `--set key=value`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cce_ray.config.nested import REGISTRIES, assign_all, follow_required_model, is_name
from cce_ray.config.run import RunConfig
from cce_ray.config.typed_values import plain_types, typed_value
from cce_ray.files import read_yaml

Overrides = Iterable[str] | Mapping[str, Any]
"""Changes to a run: `key=value` texts as a person types them, or {dotted key: value}."""


def load_config(path: Path | None = None, overrides: Overrides = ()) -> tuple[RunConfig, list[str]]:
    """The configuration of a YAML run with overrides, and notes on what was dropped or switched.

    Raises ValueError (one line, with the dotted key and the remedy) for an unknown key or a bad value.
    """
    values: dict[str, Any] = read_yaml(path) if path else {}
    if path:
        values.setdefault("name", path.stem)
    notes = assign_all(values, assignments_of(overrides))
    notes += follow_required_model(values)
    return RunConfig.from_dict(values), notes


def assignments_of(overrides: Overrides) -> dict[str, Any]:
    """Overrides as {dotted key: value}. Raises ValueError for a text that is not key=value."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    return dict(parse_assignment(text) for text in overrides)


def parse_assignment(text: str) -> tuple[str, Any]:
    """'a.b=value' -> ('a.b', value), read by the type of the setting: see `typed_value`.

    Raises:
        ValueError: no '=', or no key.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key:
        raise ValueError(f"--set {text}: write it as key=value, for example --set optimizer.epochs=20")
    return key, typed_value(value, _accepted_types(key))


@cache
def _accepted_types(key: str) -> frozenset[Any]:
    """The types that a dotted key takes, of every data set, model and method that has it; str for a choice of
    texts; empty for an unknown key."""
    section, _, name = key.partition(".")
    if is_name(key):
        return frozenset({str})
    if section not in RunConfig.model_fields:
        return frozenset()
    field = RunConfig.model_fields[section]
    if not name:
        return frozenset(plain_types(field.annotation))
    kinds: list[Any] = list(REGISTRIES[section].values()) if section in REGISTRIES else [field.annotation]
    fields = [
        kind.model_fields[name]
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields
    ]
    return frozenset(member for leaf in fields for member in plain_types(leaf.annotation))
