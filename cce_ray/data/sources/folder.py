"""A folder of images, with or without a sub-folder per class."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from cce_ray.data.augmentation import PHOTOS, AugmentationSettings
from cce_ray.data.data_settings import AbsolutePath, DataSettings
from cce_ray.data.dataset import Source
from cce_ray.data.storage.file_names import escape_name, show_name
from cce_ray.data.storage.image_files import Decoder
from cce_ray.data.storage.image_listing import list_images, shortened
from cce_ray.data.storage.image_samples import read_folder
from cce_ray.data.storage.sample_ids import SampleIds

Depth = Literal["auto", 8, 10, 12, 14, 16]


@final
class Folder(DataSettings):
    """All images below a folder; labels come from the sub-folders, where every image is directly in one."""

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
    """What to do with images that cannot be decoded and folders that cannot be read: leave them out and say
    so, or stop."""
    depth_16_bit: Depth = "auto"
    """Bits that grey images of 16 bits use; the upper 8 of them are kept. auto: the smallest depth that holds
    the largest value among them. With a given depth, images with larger values count as unreadable."""
    depth_32_bit: Depth = "auto"
    """The same for grey images of 32 bits."""
    depth_16_bit_colour: Literal["auto", 16] = "auto"
    """Of colour images of 16 bits the upper 8 are used. auto: they count as unreadable where none of them has
    a value above 32767, for then they use fewer bits and would lose most of them."""

    def source(self) -> Source:
        """(C, H, W) uint8 images in the order of their names; every file has been decoded at least once.

        Raises:
            ValueError: no such folder, no images, none readable, mixed sizes without ``image_size``; with
                ``on_unreadable=refuse`` any file or folder that cannot be read.
        """
        listing = list_images(self.path)
        if listing.unreadable and self.on_unreadable == "refuse":
            raise ValueError(
                f"data.path: '{show_name(self.path)}' has {listing.unreadable_text()}; make them readable, "
                "or set data.on_unreadable=skip"
            )
        files = listing.files
        labels, class_names, notes = self._labels(files)
        rows = self.chosen_rows(len(files))
        files = [files[row] for row in rows]
        decoder = Decoder(self.channels, self.image_size, self._given_depths())
        read = read_folder(self.path, files, decoder, self.memory_limit)
        notes += listing.notes() + read.notes
        failures = read.failures
        if failures:
            notes += (self._unreadable(files, failures),)
        readable = np.array([row for row in range(len(files)) if row not in failures], dtype=np.int64)
        return Source(
            read.samples,
            None if labels is None else labels[rows][readable],
            class_names,
            SampleIds(rows[readable], files=[escape_name(files[row]) for row in readable], one_each=True),
            notes=notes,
            reading=read.depths,
        )

    def _given_depths(self) -> dict[str, int]:
        """{setting: depth} of those that are not auto."""
        settings = {
            "depth_16_bit": self.depth_16_bit,
            "depth_32_bit": self.depth_32_bit,
            "depth_16_bit_colour": self.depth_16_bit_colour,
        }
        return {key: depth for key, depth in settings.items() if depth != "auto"}

    def _labels(self, files: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None, tuple[str, ...]]:
        """(labels, class names, notes) by the sub-folders."""
        parents = [escape_name(file).split("/")[:-1] for file in files]
        if self.labels == "none" or not any(parents):
            return None, None, ()
        if any(len(parent) != 1 for parent in parents):
            return None, None, ("no labels: not every image is directly in a first-level sub-folder",)
        names = sorted({parent[0] for parent in parents})
        if len(names) < 2:
            return None, None, ("no labels: there is a single sub-folder",)
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[parent[0]] for parent in parents], dtype=np.int64), tuple(names), ()

    def _unreadable(self, files: list[str], failures: dict[int, str]) -> str:
        """The note on files that were skipped. Raises ValueError where none may be, or none is left."""
        names = [f"{show_name(files[row])} ({reason})" for row, reason in failures.items()]
        number = f"{len(failures)} of {len(files)} images unreadable"
        if len(failures) == len(files) or self.on_unreadable == "refuse":
            remedy = "repair or remove them"
            if len(failures) < len(files):
                remedy += ", or set data.on_unreadable=skip"
            raise ValueError(f"data.path: {number} in '{show_name(self.path)}': {shortened(names)}; {remedy}")
        return f"{number} and skipped: {shortened(names)}"
