"""Arrays of embeddings or images in a file: .npy (memory-mapped), .npz or Parquet."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from cce_ray.data.array_files import FiniteCheck, image_axes, npz_member, open_npy
from cce_ray.data.augmentation import CAUTIOUS, AugmentationSettings
from cce_ray.data.data_settings import AbsolutePath, DataSettings
from cce_ray.data.dataset import Source, encode_labels
from cce_ray.data.label_files import read_labels
from cce_ray.data.samples import ArraySamples, MappedSamples, Samples, in_memory

FEATURE_KEYS = ("features", "x", "images", "data")
LABEL_KEYS = ("labels", "y")


@final
class Arrays(DataSettings):
    """Any array of numbers, (N, D) embeddings or (N, H, W), (N, H, W, C), (N, C, H, W) images."""

    augmentation_preset: ClassVar[AugmentationSettings] = CAUTIOUS

    name: Literal["arrays"] = "arrays"
    path: AbsolutePath
    """The file: .npy, .npz or .parquet."""
    key: str | None = None
    """Array of the .npz, or list column of the Parquet file; None: features, x, images or data."""
    label_key: str | None = None
    """Labels in the same file, or column of ``labels_path``; None: labels or y, where there is one."""
    labels_path: AbsolutePath | None = None
    """A file of labels, one per sample: .npy, .csv or .txt."""
    channels: Literal["auto", "first", "last"] = "auto"
    """Where four-dimensional images keep their channels; auto: the axis of size 1, 3 or 4."""

    def source(self) -> Source:
        """Embeddings as float32, images as uint8 or float32 in [0, 1]; labels where there are any.

        Raises:
            ValueError: no such file, an unknown kind, key or shape, NaN or infinity, unfit labels.
        """
        if not self.path.is_file():
            remedy = "use data=folder for a folder" if self.path.is_dir() else "set data.path to a file"
            raise ValueError(f"data.path: '{self.path}' is no file; {remedy}")
        suffix = self.path.suffix.lower()
        if suffix not in (".npy", ".npz", ".parquet"):
            raise ValueError(f"data.path: '{self.path}' is neither .npy, .npz nor .parquet; convert it")
        notes: tuple[str, ...] = ()
        if suffix == ".parquet":
            samples, raw_labels, notes = self._parquet()
        else:
            samples, raw_labels = self._numpy()
        field = "data.label_key"
        if self.labels_path is not None:
            raw_labels, field = read_labels(self.labels_path, self.label_key), "data.labels_path"
        labels, names = (None, None) if raw_labels is None else encode_labels(raw_labels, field)
        if labels is not None and len(labels) != len(samples):
            raise ValueError(
                f"{field}: {len(labels)} labels for {len(samples)} samples; give one label per sample"
            )
        return Source(samples, labels, names, notes=notes)

    def _parquet(self) -> tuple[Samples, np.ndarray | None, tuple[str, ...]]:
        from cce_ray.data.parquet import open_parquet

        label_key = None if self.labels_path else self.label_key
        table = open_parquet(self.path, self.key, label_key)
        return in_memory(table.samples, self.memory_limit), table.labels, table.notes

    def _numpy(self) -> tuple[Samples, np.ndarray | None]:
        raw_labels = None
        if self.path.suffix.lower() == ".npz":
            stored = npz_member(self.path, self.key, FEATURE_KEYS, "data.key", self.memory_limit)
            assert stored is not None
            label_key = None if self.labels_path else self.label_key
            raw_labels = npz_member(self.path, label_key, LABEL_KEYS, "data.label_key", self.memory_limit)
        else:
            stored = open_npy(self.path, "data.path")
        return self._samples(stored), raw_labels

    def _samples(self, stored: np.ndarray) -> Samples:
        """The array in the house's form, in RAM when it fits."""
        if stored.dtype.kind not in "biuf":
            raise ValueError(f"data.path: '{self.path}' holds {stored.dtype}, not numbers; convert it")
        if stored.ndim not in (2, 3, 4) or 0 in stored.shape:
            raise ValueError(
                f"data.path: '{self.path}' has shape {stored.shape}; give (N, D) embeddings or (N, H, W), "
                "(N, H, W, C), (N, C, H, W) images"
            )
        if stored.ndim > 2:
            stored = image_axes(stored, self.channels, self.path)
            if stored.dtype.kind in "iu" and stored.dtype != np.uint8:
                return self._whole_intensities(stored)
        mapped = MappedSamples(stored, FiniteCheck(self.path, images=stored.ndim > 2))
        return in_memory(mapped, self.memory_limit)

    def _whole_intensities(self, stored: np.ndarray) -> Samples:
        """Images saved as int64, say, with values of one byte."""
        if stored.size > self.memory_limit or stored.min() < 0 or stored.max() > 255:
            raise ValueError(
                f"data.path: the images of '{self.path}' are {stored.dtype}; save intensities 0..255 as uint8"
            )
        return ArraySamples(stored.astype(np.uint8))
