"""A backbone that starts where an earlier run left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cce_ray.files import read_tensors

_PREFIXES = ("module.", "backbone.")


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Copy every tensor of ``backbone`` from a model file of this package, or from a state_dict.

    Raises:
        ValueError: no such file, a damaged one, no backbone in it, or one of another shape.
    """
    if not path.is_file():
        raise ValueError(f"model.weights: '{path}' is not a file; give the model.pt of an earlier run")
    state = _state(path)
    own = backbone.state_dict()
    if not own:
        raise ValueError("model.weights: this model has no backbone to start from; leave it out")
    for key, tensor in own.items():
        if key not in state:
            raise ValueError(f"model.weights: '{path}' lacks {key}; give a file of this model")
        if state[key].shape != tensor.shape:
            raise ValueError(
                f"model.weights: {key} is {tuple(state[key].shape)} in '{path}', {tuple(tensor.shape)} in "
                "this model; give a file of the same model for the same channels"
            )
    backbone.load_state_dict({key: state[key] for key in own})


def _state(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"model.weights: '{path}': {error}; give the model.pt of a run") from None
    for wrapper in ("state", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    found = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        name = str(key)
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if isinstance(value, Tensor):
            found[name] = value
    return found
