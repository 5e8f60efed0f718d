"""Tensors and plain values in one file: written whole or not at all, read without running or trusting it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cce_ray.atomic import replacing


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, text, and lists and dicts of them; OSError for a full disk."""
    import torch

    buffer = io.BytesIO()  # torch's own file writer turns a full disk into a RuntimeError of its internals
    torch.save(dict(content), buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_tensors(path: Path) -> Any:
    """What `write_tensors` wrote, tensors on the CPU.

    Raises ValueError with the bare reason for a file of another kind, a damaged one, or one that holds more
    than data; FileNotFoundError if there is none.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            # torch checks no sums: weights with flipped bits would load, and label everything wrongly.
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # a damaged directory raises anything, from BadZipFile to struct.error
        raise ValueError("it is cut short or of another kind") from error
    if damaged:
        raise ValueError(f"wrong checksum of {damaged}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises anything on foreign bytes, IndexError included
        raise ValueError("torch finds no plain tensors in it") from error
