"""Weights from files of any origin, into a network whose classifier is gone."""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cce_ray.files import read_tensors

_WRAPPERS = ("state_dict", "model")
"""Entries of a checkpoint under which the weights may lie."""
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Classifiers of GoogLeNet and Inception that only training uses."""
_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
"""How torchvision's own DenseNet files still spell norm1 and conv1."""


def default_file(usual: Any) -> Path:
    """The file of torchvision's weights ``usual``, fetched unless it is there; ValueError when that fails."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / usual.url.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        with redirect_stdout(sys.stderr):  # torch tells what it fetches, on the programs' side
            usual.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"--weights: {usual.url} could not be fetched into '{path.parent}' ({reason}); give --weights "
            "FILE, or put that file into this folder"
        ) from error
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a state_dict, or of a checkpoint that holds one; a leading "module." is taken off.

    Raises:
        ValueError: no such file, one that is damaged or holds more than data, one without weights.
    """
    if not path.is_file():
        raise ValueError(
            f"--weights: '{path}' is not a file; give the file of a state_dict, or default, or random"
        )
    content = _content(path)
    if isinstance(content, Mapping) and str(content.get("format")).startswith("cce_ray."):
        raise ValueError(f"--weights: '{path}' was written by cce_ray; give it as --backbone '{path}'")
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(key).removeprefix("module."): value for key, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise ValueError(
            f"--weights: '{path}' holds no tensors by name, nor under {' or '.join(_WRAPPERS)}; save the "
            "network's state_dict()"
        )
    return state


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], *, name: str, head: str, path: Path
) -> None:
    """Copy every tensor of ``network`` from ``state``.

    Args:
        network: the network called ``name``, without its classifier.
        state: of ``read_weights``; more may stand in it for the module ``head``, where the classifier was.
        path: where they come from, for the messages.

    Raises:
        ValueError: naming the first tensor that has another shape, is missing, or has no place.
    """
    # Without a version torch's modules understand the names of earlier ones, except MNASNet, which insists.
    renamed = OrderedDict((_DENSENET_KEY.sub(r"\1", key), tensor) for key, tensor in state.items())
    renamed._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    own = network.state_dict()
    for key, tensor in own.items():
        if key in renamed and renamed[key].shape != tensor.shape:
            told = f"{key} is {tuple(renamed[key].shape)} there, {tuple(tensor.shape)} in {name}"
            raise ValueError(_misfit(path, name, told, key))
    missing, unexpected = network.load_state_dict(renamed, strict=False)
    if missing:
        told = f"{missing[0]} {tuple(own[missing[0]].shape)} is missing there"
        raise ValueError(_misfit(path, name, told, missing[0]))
    left = [key for key in unexpected if not key.startswith((f"{head}.", *_AUXILIARY))]
    if left:
        told = f"{left[0]} {tuple(renamed[left[0]].shape)} has no place in {name}"
        raise ValueError(_misfit(path, name, told, left[0]))


def fingerprint(path: Path) -> str:
    """The file's name and the beginning of its SHA-256."""
    with path.open("rb") as file:
        return f"{path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _content(path: Path) -> Any:
    """Whatever plain data the file holds, tensors on the CPU."""
    if path.suffix.lower() == ".safetensors":
        try:
            load = import_module("safetensors.torch").load_file
        except ImportError as error:
            raise ValueError(
                f"--weights: '{path}' needs the package safetensors; 'pip install safetensors', or give a "
                ".pth file"
            ) from error
    else:
        load = _load_torch
    try:
        return load(path)
    except Exception as error:  # torch's reader raises anything on foreign bytes, IndexError included
        raise ValueError(
            f"--weights: '{path}' is damaged, or holds more than tensors and plain values; save the "
            "network's state_dict()"
        ) from error


def _load_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        return read_tensors(path)
    # Files of torch before 1.6 are not archives, and have no checksums to compare.
    return torch.load(path, map_location="cpu", weights_only=True)


def _misfit(path: Path, name: str, told: str, key: str) -> str:
    remedy = f"give a file of {name}, or the --backbone that it belongs to"
    if key.endswith("pos_embedding"):
        remedy = "give the --image-size that the weights were trained with"
    return f"--weights: '{path}' does not fit {name}: {told}; {remedy}"
