"""The images of a folder as samples: decoded once and kept, or decoded whenever they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from cce_ray.data.storage.deep_pictures import DeepPictures
from cce_ray.data.storage.file_names import openable, show_name
from cce_ray.data.storage.image_files import Decoder, Picture, reason_of
from cce_ray.data.storage.image_listing import named
from cce_ray.data.storage.reopening import must_exist
from cce_ray.data.storage.samples import ArraySamples, Samples


@final
@dataclass(frozen=True)
class ReadFolder:
    """What `read_folder` returns."""

    samples: Samples
    """The images that could be read, in the order of their files."""
    failures: dict[int, str]
    """{row: reason} of the others."""
    depths: dict[str, int]
    """{setting: bits in use}: those given, and those that the pixel types that occur turned out to use."""
    notes: tuple[str, ...]


def read_folder(folder: Path, files: list[str], decoder: Decoder, memory_limit: int) -> ReadFolder:
    """Decode every file once, deep pictures that use fewer than 16 bits a second time; keep the images in RAM
    if all fit into ``memory_limit`` bytes.

    Raises:
        ValueError: images of different sizes.
    """
    failures: dict[int, str] = {}
    deep, several = DeepPictures(), []
    first: tuple[int, np.ndarray] | None = None
    array: np.ndarray | None = None
    # One file at a time until one can be read: it fixes the size of all.
    for row, picture in _decoded(folder, files, decoder, range(len(files))):
        if isinstance(picture, str):
            failures[row] = picture
            continue
        image = picture.pixels
        if first is None:
            first = row, image
            if image.nbytes * len(files) <= memory_limit:
                array = np.empty((len(files), *image.shape), np.uint8)
        elif image.shape != first[1].shape:
            _refuse_sizes(files[first[0]], first[1].shape, files[row], image.shape)
        if array is not None:
            array[row] = image
        deep.add(row, picture)
        if picture.several:
            several.append(files[row])
    notes = (_several_note(several),) if several else ()
    failures |= deep.failures(decoder.depths)
    new = deep.find_depths(decoder.depths)
    depths: dict[str, int] = dict(decoder.depths)
    depths.update((str(kind), depth) for kind, depth in new.items())
    decoder = replace(decoder, depths=depths)
    if array is not None:
        again = sorted(row for kind, depth in new.items() if depth < 16 for row in deep.rows[kind])
        failures |= _decode_again(array, folder, files, decoder, again)
    readable = [row for row in range(len(files)) if row not in failures]
    samples: Samples
    if array is not None:
        samples = ArraySamples(array if not failures else array[readable])
    else:
        shape = first[1].shape if first else (0, 0, 0)
        samples = FileSamples(folder, [files[row] for row in readable], decoder, shape)
    failures = dict(sorted(failures.items()))
    return ReadFolder(samples, failures, depths, deep.notes(new) + notes)


def _decode_again(
    array: np.ndarray, folder: Path, files: list[str], decoder: Decoder, rows: Sequence[int]
) -> dict[int, str]:
    """Decode `rows` of ``array`` once more, with the depths now known; {row: reason} of failures."""
    failures = {}
    for row, picture in _decoded(folder, files, decoder, rows):
        if isinstance(picture, str):
            failures[row] = picture
        elif picture.pixels.shape != array.shape[1:]:
            failures[row] = "changed its size"
        else:
            array[row] = picture.pixels
    return failures


def _several_note(files: list[str]) -> str:
    have = "files have" if len(files) > 1 else "file has"
    return f"{len(files)} {have} several pages or frames, of which the first is used: {named(files)}"


def _refuse_sizes(one: str, one_shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]) -> None:
    (_, height, width), (_, other_height, other_width) = one_shape, other_shape
    raise ValueError(
        f"data.image_size: images differ in size ('{show_name(one)}' {width}x{height}, '{show_name(other)}' "
        f"{other_width}x{other_height}); set it, e.g. --set data.image_size="
        f"{min(height, width, other_height, other_width)}"
    )


def _decoded(
    folder: Path, files: list[str], decoder: Decoder, rows: Sequence[int]
) -> Iterator[tuple[int, Picture | str]]:
    """(row, picture or reason of failure) in order, decoded by threads a bounded number of files ahead."""
    place = openable(folder)

    def decode(row: int) -> Picture | str:
        try:
            return decoder.decode(place / files[row])
        except Exception as error:  # Pillow's plug-ins raise anything on damaged files.
            return reason_of(error)

    threads = min(32, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(rows), 8 * threads):
            block = rows[start : start + 8 * threads]
            yield from zip(block, pool.map(decode, block), strict=True)


@final
class FileSamples:
    """Images (C, H, W) uint8 that are decoded whenever they are read, by threads."""

    array = None
    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, files: list[str], decoder: Decoder, shape: tuple[int, ...]) -> None:
        self._folder = folder
        self._files = files
        self._decoder = decoder
        self.shape = shape
        self._pool = ThreadPoolExecutor(min(32, os.cpu_count() or 1), thread_name_prefix="cce-decode")

    def __len__(self) -> int:
        return len(self._files)

    def __reduce__(self) -> tuple[type[FileSamples], tuple[Any, ...]]:
        return FileSamples, (self._folder, self._files, self._decoder, self.shape)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``."""
        block = np.empty((len(indices), *self.shape), dtype=np.uint8)

        def fill(place: int) -> None:
            block[place] = self._image(indices[place])

        list(self._pool.map(fill, range(len(indices))))  # The first failure is raised here.
        return block

    def _image(self, row: int) -> np.ndarray:
        folder, name = openable(self._folder), show_name(self._files[row])
        try:
            image = self._decoder(folder / self._files[row])
        except Exception as error:
            must_exist(folder)
            raise ValueError(
                f"data.path: '{name}' can no longer be read ({reason_of(error)}); restore it"
            ) from error
        if image.shape != self.shape:
            raise ValueError(f"data.path: '{name}' changed its size during the run; restore it")
        return image
