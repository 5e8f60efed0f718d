"""Checkpoints: written whole or not at all, read without running any code in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cce_ray.files import read_tensors, write_tensors

FORMAT = "cce_ray.checkpoint/2"
CHECKPOINT_FILE = "checkpoint.pt"


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of them) to `path`, atomically.

    A crash or a full disk in the middle leaves the previous checkpoint as it was (OSError).
    """
    write_tensors(path, {"format": FORMAT, **state})


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state saved in `path`, tensors on the CPU. ValueError if it is no checkpoint of ours."""
    try:
        state = read_tensors(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint; start the run without --resume") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error}); delete it to start afresh") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this version ({FORMAT}); delete it to start afresh")
    return state
