"""YAML files of settings: read whole or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn, final

import yaml

_MAX_YAML_VALUES = 100_000
"""Values of a YAML file, those of its aliases counted wherever they are used."""


@final
class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses what YAML would silently drop, or blow up.

    These are a key that occurs twice in one mapping, aliases that contain themselves or multiply beyond
    `_MAX_YAML_VALUES`, keys and texts that cannot be printed, and integers beyond 64 bits.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The document's node, whose aliases are harmless."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _expanded_size(node, {}) > _MAX_YAML_VALUES:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"its aliases (*) make more than {_MAX_YAML_VALUES} values; write out what is needed",
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping without repeated keys; of merged ones (<<) its own win."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                _refuse_node(key, f"the key {key.value!r} occurs twice; merge the two")
            if not key.value.isprintable():
                _refuse_node(key, f"the key {key.value!r} has characters that no key has")
            seen.add(key.value)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """A value whose text can be written."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if any("\ud800" <= char <= "\udfff" for char in node.value):
            _refuse_node(node, f"the text {node.value!r} has half of a surrogate pair")
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """An integer of at most 64 bits: longer ones cannot even be printed."""
        value = super().construct_yaml_int(node)
        if value.bit_length() > 64:
            _refuse_node(node, "an integer beyond 64 bits")
        return value


UniqueKeyLoader.add_constructor("tag:yaml.org,2002:int", UniqueKeyLoader.construct_yaml_int)


def _refuse_node(node: yaml.Node, reason: str) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)


def _expanded_size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """The number of values of `node` with every alias written out; `sizes` are those known so far."""
    if id(node) in sizes:
        size = sizes[id(node)]
        if size is None:
            _refuse_node(node, "an alias (*) within its own anchor")
        return size
    sizes[id(node)] = None
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
    size = 1 + sum(_expanded_size(part, sizes) for part in parts)
    sizes[id(node)] = size
    return size


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ValueError, one line, for what cannot be read as one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such run file; give a YAML file or a built-in run (see cce train --help)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error.__class__.__name__}); give a YAML run file"
        ) from None
    try:
        loaded = yaml.load(text, UniqueKeyLoader)
    # ValueError for the 31st of February, RecursionError for nesting, OverflowError for escapes, ...
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not valid YAML: {reason}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ValueError(f"{path}: a run file is a mapping of sections such as data, model, method")
    return loaded
