"""Reading .npy and .npz without loading more than asked for, and without trusting what they claim."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, final

import numpy as np

from cce_ray.data.storage.node_copy import identity, node_copy
from cce_ray.data.storage.npy_header import NpyHeader, read_header
from cce_ray.data.storage.reading import first_line as first_line
from cce_ray.data.storage.reading import printable, reading
from cce_ray.data.storage.reopening import must_exist, must_match

_MAX_INFLATION = 1032
"""Bytes that one deflated byte expands to at most."""
PIECE_BYTES = 2**20


def open_npy(path: Path, field: str) -> np.ndarray:
    """Map the array of a .npy file into memory, read-only.

    Args:
        path: the file.
        field: the setting that names it, for the messages.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or holds neither numbers nor text.
    """
    with reading(path, "an array of numbers", field):
        with path.open("rb") as file:
            header = read_header(file, os.fstat(file.fileno()).st_size)
        _check_dtype(header.dtype, path, field)
        if not header.num_bytes:  # nothing can be mapped
            return np.empty(header.shape, header.dtype)
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, header.order)


def npz_names(path: Path) -> list[str]:
    """The arrays of an .npz file. Raises ValueError for a damaged file."""
    with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def npz_key(path: Path, key: str | None, usual_keys: Sequence[str], field: str) -> str | None:
    """``key`` if the .npz file has such an array, or the first of ``usual_keys`` that it has.

    None when labels are looked for (``field`` names them) without a key and there are none.

    Raises:
        ValueError: no such array, or a damaged file.
    """
    present = npz_names(path)
    names = printable(", ".join(present))[:200]
    if key is not None:
        if key in present:
            return key
        raise ValueError(f"{field}: '{path}' has no array '{key}'; it has {names or 'none'}")
    for usual in usual_keys:
        if usual in present:
            return usual
    if field == "data.label_key":
        return None
    if len(present) == 1:
        return present[0]
    raise ValueError(
        f"{field}: '{path}' has {names or 'no arrays'}, none of {', '.join(usual_keys)}; "
        "name the array with data.key"
    )


def open_npz(path: Path, key: str, memory_limit: float) -> np.ndarray:
    """Array ``key`` of a .npz file; beyond ``memory_limit`` bytes the node's unpacked copy, memory-mapped.

    Raises:
        ValueError: a damaged file, an array of neither numbers nor text, or a disk too small for the copy.
    """
    with reading(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        name = _member_name(archive, key)
        with _open_member(archive, name) as stored:
            header = read_header(stored, archive.getinfo(name).file_size)
            _check_dtype(header.dtype, path, "data.path")
            if header.num_bytes <= memory_limit:
                return _read_array(stored, header)

    def unpack(file: BinaryIO) -> None:
        for piece in _unpacked(path, name):  # what fails here is the disk of the copy
            file.write(piece)

    return node_copy((*identity(path), name), header.offset + header.num_bytes, unpack)


def _check_dtype(dtype: np.dtype, path: Path, field: str) -> None:
    if dtype.kind not in "biufSU":
        raise ValueError(f"{field}: '{path}' holds {str(dtype)[:60]}, not numbers or text; convert it")


def _member_name(archive: zipfile.ZipFile, key: str) -> str:
    """The member that holds array ``key``. Raises ValueError, the bare reason, where that is in doubt."""
    names = [name for name in archive.namelist() if name.removesuffix(".npy") == key]
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} arrays of the name '{printable(key)}'")
    return names[0]


def _open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A member whose size is possible, to be read. Raises ValueError with the bare reason."""
    member = archive.getinfo(name)
    if member.flag_bits & 1:
        raise ValueError("it is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile inflates those of other methods in memory, however large they are.
        raise ValueError(f"it is compressed by method {member.compress_type}, which numpy does not write")
    inflation = 1 if member.compress_type == zipfile.ZIP_STORED else _MAX_INFLATION
    if member.file_size > inflation * (member.compress_size + 64):
        raise ValueError(f"it claims {member.file_size} bytes in {member.compress_size} compressed ones")
    return archive.open(member)


def _read_array(stored: IO[bytes], header: NpyHeader) -> np.ndarray:
    array = np.empty(math.prod(header.shape), header.dtype)
    target = array.view(np.uint8)
    start = 0
    for piece in _pieces(stored, header.num_bytes):
        target[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        start += len(piece)
    return array.reshape(header.shape, order=header.order)


def _unpacked(path: Path, name: str) -> Iterator[bytes]:
    """Member ``name`` of a .npz file piece by piece, as a .npy file."""
    with (
        reading(path, "an .npz file"),
        zipfile.ZipFile(path) as archive,
        _open_member(archive, name) as stored,
    ):
        header = read_header(stored, archive.getinfo(name).file_size)
        beginning = io.BytesIO()
        header.write(beginning)
        yield beginning.getvalue()
        yield from _pieces(stored, header.num_bytes)


def _pieces(stored: IO[bytes], num_bytes: int) -> Iterator[bytes]:
    """The next ``num_bytes`` bytes; zipfile compares the checksum when it hands out a member's last one."""
    left = num_bytes
    while left:
        piece = stored.read(min(left, PIECE_BYTES))
        if not piece:
            raise ValueError("it is cut short")
        left -= len(piece)
        yield piece


@final
@dataclass(frozen=True)
class ArrayFile:
    """The place of an array: enough to open it here or in another process."""

    path: Path
    key: str | None
    """The array of a .npz file; None for .npy."""
    channels: Literal["auto", "first", "last"]
    memory_limit: int
    """Bytes up to which the array of a .npz file is read into RAM."""

    def open(self) -> np.ndarray:
        """The array as stored, images with axes (N, C, H, W); memory-mapped unless it is a small .npz.

        Raises ValueError for damaged files, objects, and images whose axes are in doubt.
        """
        if self.key is None:
            stored = open_npy(self.path, "data.path")
        else:
            stored = open_npz(self.path, self.key, self.memory_limit)
        return _image_axes(stored, self.channels, self.path) if stored.ndim in (3, 4) else stored

    def reopen(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array that was found to be so. Raises ValueError where the file is missing or another one."""
        must_exist(self.path)
        array = self.open()
        must_match(self.path, f"{array.dtype} {array.shape}", f"{dtype} {shape}")
        return array


def _image_axes(stored: np.ndarray, channels: str, path: Path) -> np.ndarray:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) viewed as (N, C, H, W). Raises ValueError when in doubt."""
    if stored.ndim == 3:
        return stored[:, None]
    first, last = stored.shape[1] in (1, 3, 4), stored.shape[3] in (1, 3, 4)
    if channels == "auto" and first == last:
        raise ValueError(
            f"data.channels: images of shape {stored.shape[1:]} in '{path}' leave open which axis holds the "
            "channels; set it to first or last"
        )
    if channels == "last" or (channels == "auto" and last):
        return stored.transpose(0, 3, 1, 2)
    return stored


@final
class FiniteCheck:
    """Refuses blocks with NaN or infinity, and images outside [0, 1], naming file, row and column."""

    def __init__(self, path: Path, *, images: bool) -> None:
        self._path = path
        self._images = images

    def __call__(self, block: np.ndarray, rows: np.ndarray) -> None:
        """``block`` (B, *shape) holds the samples ``rows`` (B,). Raises ValueError."""
        if block.dtype == np.uint8 or not block.size:
            return
        # The smallest and the largest number are NaN if any is: two passes without a temporary array.
        smallest, largest = float(block.min()), float(block.max())
        if not np.isfinite([smallest, largest]).all():
            self._refuse(block, rows)
        if self._images and (smallest < 0 or largest > 1):
            raise ValueError(
                f"data.path: the images of '{self._path}' range from {smallest:g} to {largest:g}; scale "
                "intensities to [0, 1], or save them as uint8"
            )

    def _refuse(self, block: np.ndarray, rows: np.ndarray) -> None:
        wrong = ~np.isfinite(block.reshape(len(block), -1))
        place, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        value = block.reshape(len(block), -1)[place, column]
        raise ValueError(
            f"data.path: '{self._path}' has {value} in row {rows[place]}, column {column} "
            f"({int(wrong.any(axis=1).sum())} such rows in the {len(rows)} just read); remove or impute them"
        )
