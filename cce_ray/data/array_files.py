"""Reading .npy and .npz without loading more than asked for, and without trusting pickles."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np


def open_npy(path: Path, field: str) -> np.ndarray:
    """The array of a .npy file, memory-mapped. Raises ValueError for damaged files and objects."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{field}: '{path}' cannot be read as an array of numbers ({first_line(error)}); save it again"
        ) from error


def npz_member(
    path: Path, key: str | None, usual_keys: Sequence[str], field: str, memory_limit: int
) -> np.ndarray | None:
    """Array ``key`` of a .npz file, or the first of ``usual_keys`` that is there.

    Arrays beyond ``memory_limit`` bytes are unpacked to a temporary file and memory-mapped. None when labels
    are looked for (``field`` names them) without a key and there are none.

    Raises:
        ValueError: no such array, a damaged file or an array of objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
            chosen = _choose(path, key, usual_keys, field, list(members))
            if chosen is None:
                return None
            if members[chosen].file_size > memory_limit:
                return _unpacked(archive, members[chosen])
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[chosen])
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        if str(error).startswith(field):
            raise
        raise ValueError(
            f"data.path: '{path}' cannot be read as an .npz file ({first_line(error)}); save it again"
        ) from error


def _choose(
    path: Path, key: str | None, usual_keys: Sequence[str], field: str, present: list[str]
) -> str | None:
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


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """The member as a memory-mapped array. A member of a .npz is a .npy file, so unpacking it is enough."""
    with scratch_folder(member.file_size) as folder:
        return open_npy(Path(archive.extract(member, folder)), "data.path")


def scratch_folder(size: int) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder with room for ``size`` bytes.

    Files in it may be memory-mapped and the folder removed at once: the mapping stays valid, and not even a
    killed process leaves the file behind. Raises ValueError when the disk is too small.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise ValueError(
            f"data.memory_limit_gib: a temporary copy needs {size / 2**30:.1f} GiB, and "
            f"{tempfile.gettempdir()} has {free / 2**30:.1f}; "
            "free some, point TMPDIR elsewhere, raise the limit or save as .npy"
        )
    return tempfile.TemporaryDirectory(prefix="cce_ray_")


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
