"""Nested values of a configuration: setting a dotted key, switching a data set, model or method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cce_ray.data import DATASETS
from cce_ray.methods import METHODS
from cce_ray.models import MODELS
from cce_ray.settings import Settings

REGISTRIES: dict[str, Mapping[str, type[Settings]]] = {"data": DATASETS, "model": MODELS, "method": METHODS}
"""Sections whose keys depend on their `name`."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> {dotted key: value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_name(key: str) -> bool:
    """Whether a dotted key switches a data set, model or method."""
    section, _, rest = key.partition(".")
    return section in REGISTRIES and rest in ("", "name")


def section_of(values: dict[str, Any], section: str) -> dict[str, Any]:
    """The section's own mapping in `values`, made if absent; `data: NAME` is short for its name."""
    current = values.get(section)
    if current is None or isinstance(current, str):
        current = values[section] = {"name": current} if current else {}
    if not isinstance(current, dict):
        raise ValueError(f"{section}: a mapping of settings is wanted, got {current!r}")
    return current


def assign_all(values: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """Set dotted keys; notes on what was dropped.

    A switched name comes first, whatever the order: the other keys belong to it.
    """
    notes: list[str] = []
    for key in sorted(changes, key=lambda key: not is_name(key)):
        notes += assign(values, key, changes[key])
    return notes


def assign(values: dict[str, Any], key: str, value: Any) -> list[str]:
    """Set a dotted key; switching a name drops the keys which the new one does not have, and says so."""
    if is_name(key):
        return _switch(values, key.partition(".")[0], value)
    section, _, rest = key.partition(".")
    if not rest:
        values[section] = value
        return []
    target = section_of(values, section)
    *parents, last = rest.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise ValueError(f"{key}: {parent} is a single value, not a section")
    target[last] = value
    return []


def _switch(values: dict[str, Any], section: str, name: Any) -> list[str]:
    """Set a section's name, keeping only the keys that belong to the new one."""
    current = section_of(values, section)
    before = current.get("name")
    current["name"] = name
    kind = REGISTRIES[section].get(name) if isinstance(name, str) else None
    if kind is None or before == name:
        return []
    dropped = [key for key in current if key not in kind.model_fields]
    for key in dropped:
        del current[key]
    return [
        f"{section}.{key} of the run file does not belong to {section} {name}: left out" for key in dropped
    ]


def follow_required_model(values: dict[str, Any]) -> list[str]:
    """A method that works with one model only takes it along."""
    method = METHODS.get(str(section_of(values, "method").get("name", "")))
    required = method.required_model if method else None
    if required is None or section_of(values, "model").get("name") == required:
        return []
    values["model"] = {"name": required}
    return [f"method {values['method']['name']} brings its own model: {required}"]
