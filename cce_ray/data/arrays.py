"""Arrays of embeddings or images: in a .npy (memory-mapped), .npz or Parquet file, or in shards."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import ClassVar, Literal, final

import numpy as np

from cce_ray.data.array_files import ArrayFile, FiniteCheck, npz_key, open_npz
from cce_ray.data.augmentation import CAUTIOUS, AugmentationSettings
from cce_ray.data.data_settings import AbsolutePath, DataSettings
from cce_ray.data.dataset import Source, encode_labels
from cce_ray.data.label_files import read_labels
from cce_ray.data.samples import ArraySamples, MappedSamples, Samples, in_memory
from cce_ray.data.shards import Shard, joined, list_shards

FEATURE_KEYS = ("features", "x", "images", "data")
LABEL_KEYS = ("labels", "y")


@final
class Arrays(DataSettings):
    """Any array of numbers, (N, D) embeddings or (N, H, W), (N, H, W, C), (N, C, H, W) images."""

    augmentation_preset: ClassVar[AugmentationSettings] = CAUTIOUS

    name: Literal["arrays"] = "arrays"
    path: AbsolutePath
    """The file: .npy, .npz or .parquet; or a folder of .npy or of .parquet shards, taken in order of name."""
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
            ValueError: no such file, an unknown kind, key or shape, shards that do not fit together, NaN or
                infinity, unfit labels.
        """
        whole = joined(self._shards())
        samples, raw_labels, field = (
            in_memory(whole.samples, self.memory_limit),
            whole.labels,
            "data.label_key",
        )
        if self.labels_path is not None:
            raw_labels, field = read_labels(self.labels_path, self.label_key), "data.labels_path"
        labels, names = (None, None) if raw_labels is None else encode_labels(raw_labels, field)
        if labels is not None and len(labels) != len(samples):
            raise ValueError(
                f"{field}: {len(labels)} labels for {len(samples)} samples; give one label per sample"
            )
        return Source(samples, labels, names, notes=whole.notes)

    def _shards(self) -> list[Shard]:
        """Every file, opened."""
        if self.path.is_dir():
            paths = list_shards(self.path, aside=self.labels_path)
        elif self.path.is_file():
            paths = [self.path]
        else:
            raise ValueError(
                f"data.path: '{self.path}' is no file; set data.path to a file that {gethostname()} sees"
            )
        return [self._shard(path, self.memory_limit // len(paths)) for path in paths]

    def _shard(self, path: Path, memory_limit: int) -> Shard:
        """One file; of what cannot stay there, up to ``memory_limit`` bytes are read into RAM."""
        label_key = None if self.labels_path else self.label_key
        match path.suffix.lower():
            case ".parquet":
                from cce_ray.data.parquet import open_parquet

                return open_parquet(path, self.key, label_key)
            case ".npy":
                return Shard(path, self._samples(ArrayFile(path, None, self.channels, memory_limit)))
            case ".npz":
                key = npz_key(path, self.key, FEATURE_KEYS, "data.key")
                samples = self._samples(ArrayFile(path, key, self.channels, memory_limit))
                found = npz_key(path, label_key, LABEL_KEYS, "data.label_key")
                return Shard(path, samples, None if found is None else open_npz(path, found, math.inf))
        raise ValueError(f"data.path: '{path}' is neither .npy, .npz nor .parquet; convert it")

    def _samples(self, file: ArrayFile) -> Samples:
        """The array in the house's form."""
        stored = file.open()
        if stored.dtype.kind not in "biuf":
            raise ValueError(f"data.path: '{file.path}' holds {stored.dtype}, not numbers; convert it")
        if stored.ndim not in (2, 3, 4) or 0 in stored.shape:
            raise ValueError(
                f"data.path: '{file.path}' has shape {stored.shape}; give (N, D) embeddings or (N, H, W), "
                "(N, H, W, C), (N, C, H, W) images"
            )
        images = stored.ndim > 2
        if images and stored.dtype.kind in "iu" and stored.dtype != np.uint8:
            return _whole_intensities(stored, file)
        reopen = partial(file.reopen, stored.shape, stored.dtype)
        return MappedSamples(stored, FiniteCheck(file.path, images=images), reopen)


def _whole_intensities(stored: np.ndarray, file: ArrayFile) -> Samples:
    """Images saved as int64, say, with values of one byte."""
    if stored.size > file.memory_limit or stored.min() < 0 or stored.max() > 255:
        raise ValueError(
            f"data.path: the images of '{file.path}' are {stored.dtype}; save intensities 0..255 as uint8"
        )
    return ArraySamples(stored.astype(np.uint8))
