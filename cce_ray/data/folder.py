"""A folder of images, with or without a sub-folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from cce_ray.data.augmentation import PHOTOS, AugmentationSettings
from cce_ray.data.data_settings import AbsolutePath, DataSettings
from cce_ray.data.dataset import Source, chosen_rows
from cce_ray.data.image_files import SUFFIXES, Decoder
from cce_ray.data.reopening import must_exist
from cce_ray.data.sample_ids import SampleIds
from cce_ray.data.samples import ArraySamples, Samples

NAMED = 5
"""How many unreadable files a note names."""


@final
class Folder(DataSettings):
    """All images below a folder; labels come from the sub-folders, where every image lies directly in one."""

    augmentation_preset: ClassVar[AugmentationSettings] = PHOTOS

    name: Literal["folder"] = "folder"
    path: AbsolutePath
    """The folder."""
    image_size: Annotated[int, Field(ge=4)] | None = None
    """Resize the shorter side to this and crop the centre; None: images of one size stay as they are."""
    channels: Literal["rgb", "grey"] = "rgb"
    """Colour or grey values."""
    labels: Literal["auto", "none"] = "auto"
    """Sub-folders as classes where possible, or no labels at all."""
    on_unreadable: Literal["skip", "refuse"] = "skip"
    """What to do with images that cannot be decoded: leave them out and say so, or stop."""

    def source(self) -> Source:
        """(C, H, W) uint8 images in the order of their names; every file has been decoded once.

        Raises:
            ValueError: no such folder, no images, none readable, mixed sizes without ``image_size``.
        """
        files = list_images(self.path)
        labels, class_names, notes = self._labels(files)
        rows = chosen_rows(self, len(files))
        files = [files[row] for row in rows]
        samples, failures = read_folder(
            self.path, files, Decoder(self.channels, self.image_size), self.memory_limit
        )
        if failures:
            notes += (self._unreadable(files, failures),)
        readable = np.array([row for row in range(len(files)) if row not in failures], dtype=np.int64)
        return Source(
            samples,
            None if labels is None else labels[rows][readable],
            class_names,
            SampleIds(rows[readable], files=[files[row] for row in readable], one_each=True),
            notes=notes,
        )

    def _labels(self, files: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None, tuple[str, ...]]:
        """(labels, class names, notes) by the sub-folders."""
        parents = [file.split("/")[:-1] for file in files]
        if self.labels == "none" or not any(parents):
            return None, None, ()
        if any(len(parent) != 1 for parent in parents):
            return None, None, ("no labels: not every image lies directly in one first-level sub-folder",)
        names = sorted({parent[0] for parent in parents})
        if len(names) < 2:
            return None, None, ("no labels: there is a single sub-folder",)
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[parent[0]] for parent in parents], dtype=np.int64), tuple(names), ()

    def _unreadable(self, files: list[str], failures: dict[int, str]) -> str:
        """The note on files that were skipped. Raises ValueError where none may be, or none is left."""
        shown = ", ".join(f"{files[row]} ({reason})" for row, reason in list(failures.items())[:NAMED])
        shown += ", ..." if len(failures) > NAMED else ""
        told = f"{len(failures)} of {len(files)} images unreadable"
        if len(failures) == len(files) or self.on_unreadable == "refuse":
            remedy = "repair or remove them"
            if len(failures) < len(files):
                remedy += ", or set data.on_unreadable=skip"
            raise ValueError(f"data.path: {told} in '{self.path}': {shown}; {remedy}")
        return f"{told} and skipped: {shown}"


def list_images(folder: Path) -> list[str]:
    """Paths of the images below ``folder``, relative and with forward slashes, sorted; hidden ones left out.

    Raises:
        ValueError: no such folder, or no images in it.
    """
    if not folder.is_dir():
        remedy = f"set data.path to a folder of images that {gethostname()} sees"
        if folder.is_file():
            remedy = "use data=arrays for a file"
        raise ValueError(f"data.path: '{folder}' is no folder; {remedy}")
    files = sorted(
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, names in _walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    )
    if not files:
        known = " ".join(sorted(SUFFIXES))
        raise ValueError(
            f"data.path: '{folder}' holds no images ({known}); set data.path to a folder that does"
        )
    return files


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, file names), links followed (a common way to choose images), each folder once."""
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        visible = sorted(name for name in folders if not name.startswith((".", "__")))
        folders.clear()
        for name in visible:
            real = os.path.realpath(Path(parent) / name)
            if real not in seen:
                seen.add(real)
                folders.append(name)
        yield parent, names


def read_folder(
    folder: Path, files: list[str], decoder: Decoder, memory_limit: int
) -> tuple[Samples, dict[int, str]]:
    """Decode every file once; keep the images in RAM if all fit into ``memory_limit`` bytes.

    Returns:
        The readable samples and {row: reason} of the others.

    Raises:
        ValueError: images of different sizes.
    """
    failures: dict[int, str] = {}
    first: tuple[int, np.ndarray] | None = None
    array: np.ndarray | None = None
    # One file at a time until one can be read: it fixes the size of all.
    for row, image in _decoded(folder, files, decoder):
        if isinstance(image, str):
            failures[row] = image
            continue
        if first is None:
            first = row, image
            if image.nbytes * len(files) <= memory_limit:
                array = np.empty((len(files), *image.shape), np.uint8)
        elif image.shape != first[1].shape:
            _refuse_sizes(files[first[0]], first[1].shape, files[row], image.shape)
        if array is not None:
            array[row] = image
    readable = [row for row in range(len(files)) if row not in failures]
    if array is not None:
        return ArraySamples(array if not failures else array[readable]), failures
    shape = first[1].shape if first else (0, 0, 0)
    return FileSamples(folder, [files[row] for row in readable], decoder, shape), failures


def _refuse_sizes(one: str, one_shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]) -> None:
    (_, height, width), (_, other_height, other_width) = one_shape, other_shape
    raise ValueError(
        f"data.image_size: images differ in size ('{one}' {width}x{height}, '{other}' {other_width}x"
        f"{other_height}); set it, e.g. --set data.image_size={min(height, width, other_height, other_width)}"
    )


def _decoded(folder: Path, files: list[str], decoder: Decoder) -> Iterator[tuple[int, np.ndarray | str]]:
    """(row, image or reason of failure) in order, decoded by threads a bounded number of files ahead."""

    def decode(file: str) -> np.ndarray | str:
        try:
            return decoder(folder / file)
        except Exception as error:  # Pillow's plug-ins raise anything on damaged files.
            return (str(error).splitlines() or [type(error).__name__])[0][:80]

    threads = min(32, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), 8 * threads):
            yield from enumerate(pool.map(decode, files[start : start + 8 * threads]), start)


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
        try:
            image = self._decoder(self._folder / self._files[row])
        except Exception as error:
            must_exist(self._folder)
            raise ValueError(
                f"data.path: '{self._files[row]}' can no longer be read ({error}); restore it"
            ) from error
        if image.shape != self.shape:
            raise ValueError(f"data.path: '{self._files[row]}' changed its size during the run; restore it")
        return image
