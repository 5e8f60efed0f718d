"""Tensors and plain values in one file: written whole or not at all, read without running or trusting it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cce_ray.files.atomic import replacing


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
    than data; OSError if it cannot be opened.
    """
    import torch

    with path.open("rb") as file:  # whose failures are the user's to see
        try:
            damage = _damage(file)
        except Exception as error:  # a damaged directory raises anything, from BadZipFile to struct.error
            raise ValueError("it is cut short or of another kind") from error
    if damage:
        raise ValueError(damage)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises anything on foreign bytes, IndexError included
        raise ValueError("torch finds no plain tensors in it") from error


def _damage(file: BinaryIO) -> str | None:
    """What is wrong with an archive, or None. Raises whatever zipfile raises."""
    with zipfile.ZipFile(file) as archive:
        # torch would allocate what a compressed member claims to hold, and writes none.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            return "it is compressed, which torch.save never does"
        # torch checks no sums: weights with flipped bits would load, and label everything wrongly.
        member = archive.testzip()
    return f"wrong checksum of {member!r}" if member else None
