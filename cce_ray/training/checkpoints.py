"""Checkpoints: written whole or not at all, read without running any code in them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cce_ray.atomic import replacing

FORMAT = "cce_ray.checkpoint/1"


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of them) to `path`, atomically.

    A crash or a full disk in the middle leaves the previous checkpoint as it was (OSError).
    """
    buffer = io.BytesIO()  # torch's own file writer turns a full disk into a RuntimeError of its internals
    torch.save({"format": FORMAT, **state}, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state saved in `path`, tensors on the CPU. ValueError if it is no checkpoint of ours."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint; start the run without --resume") from None
    except Exception as error:
        reason = error.__class__.__name__
        raise ValueError(f"{path}: not a readable checkpoint ({reason}); delete it to start afresh") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this version ({FORMAT}); delete it to start afresh")
    return state
