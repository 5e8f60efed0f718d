"""Reading .npy and .npz without loading more than asked for, and without trusting pickles."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, final

import numpy as np

from cce_ray.data.node_copy import identity, node_copy
from cce_ray.data.reopening import must_exist, must_match


def open_npy(path: Path, field: str) -> np.ndarray:
    """The array of a .npy file, memory-mapped. Raises ValueError for damaged files and objects."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{field}: '{path}' cannot be read as an array of numbers ({first_line(error)}); save it again"
        ) from error


def npz_key(path: Path, key: str | None, usual_keys: Sequence[str], field: str) -> str | None:
    """``key`` if the .npz file has such an array, or the first of ``usual_keys`` that it has.

    None when labels are looked for (``field`` names them) without a key and there are none.

    Raises:
        ValueError: no such array, or a damaged file.
    """
    with _archive(path) as archive:
        present = [name.removesuffix(".npy") for name in archive.namelist()]
    if key is not None:
        if key in present:
            return key
        raise ValueError(f"{field}: '{path}' has no array '{key}'; it has {', '.join(present) or 'none'}")
    for usual in usual_keys:
        if usual in present:
            return usual
    if field == "data.label_key":
        return None
    if len(present) == 1:
        return present[0]
    raise ValueError(
        f"{field}: '{path}' has {', '.join(present) or 'no arrays'}, none of {', '.join(usual_keys)}; "
        "name the array with data.key"
    )


def open_npz(path: Path, key: str, memory_limit: float) -> np.ndarray:
    """Array ``key`` of a .npz file; beyond ``memory_limit`` bytes the node's unpacked copy, memory-mapped.

    Raises ValueError for a damaged file, an array of objects, or a disk too small for the copy.
    """
    with _archive(path) as archive:
        members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        member = members[key]
        if member.file_size <= memory_limit:
            with archive.open(member) as stored:
                return np.lib.format.read_array(stored, allow_pickle=False)

        def unpack(file: BinaryIO) -> None:
            # A member of a .npz is a .npy file.
            with archive.open(member) as stored:
                shutil.copyfileobj(stored, file, 2**20)

        return node_copy((*identity(path), member.filename), member.file_size, unpack)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The file, open; failures to read it told in one line (ValueError)."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        if str(error).startswith("data."):
            raise
        raise ValueError(
            f"data.path: '{path}' cannot be read as an .npz file ({first_line(error)}); save it again"
        ) from error


@final
@dataclass(frozen=True)
class ArrayFile:
    """Where an array lies: enough to open it here or in another process."""

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
        return image_axes(stored, self.channels, self.path) if stored.ndim in (3, 4) else stored

    def reopen(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array that was found to be so. Raises ValueError where the file is missing or another one."""
        must_exist(self.path)
        array = self.open()
        must_match(self.path, f"{array.dtype} {array.shape}", f"{dtype} {shape}")
        return array


def image_axes(stored: np.ndarray, channels: str, path: Path) -> np.ndarray:
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


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
