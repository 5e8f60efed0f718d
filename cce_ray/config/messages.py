"""One line for what is wrong with a configuration: dotted key, value, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from cce_ray.config.nested import REGISTRIES
from cce_ray.settings import Settings

Fields = Mapping[str, FieldInfo]
"""The fields of a configuration: `RunConfig.model_fields`."""


def explain(error: ValidationError, fields: Fields) -> str:
    """One line: dotted key, value, what it takes; an unknown key with the nearest known one."""
    problems: dict[str, list[Any]] = {}
    for problem in error.errors(include_url=False):
        problems.setdefault(_key_of(problem, fields), []).append(problem)
    found = [group[0]["type"] for group in problems.values()]
    place = found.index("extra_forbidden") if "extra_forbidden" in found else 0
    key, group = list(problems.items())[place]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return describe(key, group, fields) + more


def _key_of(problem: Any, fields: Fields) -> str:
    """The dotted key a problem is about, without what pydantic adds: discriminators, branches of unions."""
    location = [str(part) for part in problem["loc"]]
    if location and location[0] in REGISTRIES and len(location) > 1:
        del location[1]
    known = [size for size in range(1, len(location)) if ".".join(location[:size]) in known_keys(fields)]
    return ".".join(location[: known[0]] if known else location)


def describe(key: str, group: list[Any], fields: Fields) -> str:
    """What is wrong with one key; a group of problems are the branches of a union, each refused."""
    first = group[0]
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][1]) if len(first["loc"]) > 2 else ""
        return f"{key}: {unknown(key, name, fields)}"
    if first["type"] == "union_tag_invalid":
        names = list(REGISTRIES[key])
        wrong = first["ctx"]["tag"]
        close = difflib.get_close_matches(wrong, names, n=1)
        guess = f"; did you mean {close[0]}?" if close else ";"
        return f"{key}.name: unknown {key} {wrong!r}{guess} Known: {', '.join(names)}"
    if first["type"] == "missing":
        return f"{key}: not given, and it has no default; set it, e.g. --set {key}=VALUE"
    if first["type"] in ("model_type", "model_attributes_type"):
        return f"{key}: a mapping of settings is wanted, got {first['input']!r}; write --set {key}.KEY=VALUE"
    reasons = [problem["msg"].removeprefix("Value error, ") for problem in group]
    message = ", or ".join(text[:1].lower() + text[1:] for text in reasons)
    if not key or (first["type"] == "value_error" and message.startswith(key)):
        return message
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{key}.{message}"  # a section's own check names its key
    as_text = first["type"] in ("string_type", "path_type") and isinstance(first["input"], int | float | date)
    remedy = f"; put it in quotes in the file, or use --set {key}={first['input']}" if as_text else ""
    return f"{key}: {message}, got {first['input']!r}{remedy}"


def unknown(key: str, name: str, fields: Fields) -> str:
    """What to say of an unknown key: whose it is, if not `name`'s, or the nearest known one."""
    section, _, leaf = key.partition(".")
    owners = [other for other, kind in REGISTRIES.get(section, {}).items() if leaf in kind.model_fields]
    if owners:
        return (
            f"a key of {section} {' and '.join(owners)}, not of {name}; set {section}={owners[0]} or drop it"
        )
    return f"unknown key{nearest(key, fields)}"


def nearest(key: str, fields: Fields) -> str:
    """'; did you mean ...?' from the keys known anywhere in a configuration."""
    known = sorted(known_keys(fields))
    section, _, leaf = key.rpartition(".")
    siblings = (
        [other for other in known if other.rpartition(".")[0] == section] if section else sections(fields)
    )
    same_leaf = [other for other in known if other.rpartition(".")[2] == leaf]
    close = (
        same_leaf[:1]
        or difflib.get_close_matches(key, siblings, n=1, cutoff=0.75)
        or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    )
    return f"; did you mean {close[0]}?" if close else "; `cce config` prints the known ones"


def sections(fields: Fields) -> list[str]:
    """The keys at the top that hold settings of their own."""
    return [name for name, field in fields.items() if isinstance(field.default, Settings)]


def known_keys(fields: Fields) -> set[str]:
    """Every dotted key of every data set, model and method."""
    keys: set[str] = set()
    for name, field in fields.items():
        kinds: list[Any] = list(REGISTRIES[name].values()) if name in REGISTRIES else [field.annotation]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys |= {f"{name}.{leaf}" for leaf in kind.model_fields}
            else:
                keys.add(name)
    return keys
