"""Arrays of embeddings or images: in a .npy (memory-mapped), .npz or Parquet file, or in shards."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from pydantic import BeforeValidator

from cce_ray.data.augmentation import CAUTIOUS, AugmentationSettings
from cce_ray.data.data_settings import AbsolutePath, DataSettings
from cce_ray.data.dataset import Source
from cce_ray.data.sources.class_labels import encode_labels
from cce_ray.data.sources.label_files import read_labels
from cce_ray.data.storage.array_files import ArrayFile, FiniteCheck, npz_key, npz_names, open_npz
from cce_ray.data.storage.parquet import Request, open_parquet
from cce_ray.data.storage.parquet_samples import parquet_file
from cce_ray.data.storage.sample_ids import SampleIds, ids_of
from cce_ray.data.storage.samples import ArraySamples, MappedSamples, Samples, in_memory
from cce_ray.data.storage.shards import Shard, joined, list_shards


def _distinct(names: Any) -> Any:
    """Texts of a list, or of one name; column names such as 0 and 1 are numbers to YAML."""
    names = [str(name) for name in names] if isinstance(names, list | tuple) else [str(names)]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"give at least one name, and each once, got {names}")
    return tuple(names)


Names = Annotated[tuple[str, ...], BeforeValidator(_distinct)]
_FEATURE_KEYS = ("features", "x", "images", "data")
_LABEL_KEYS = ("labels", "y")


@final
class Arrays(DataSettings):
    """Any array of numbers, (N, D) embeddings or (N, H, W), (N, H, W, C), (N, C, H, W) images."""

    augmentation_preset: ClassVar[AugmentationSettings] = CAUTIOUS

    name: Literal["arrays"] = "arrays"
    path: AbsolutePath
    """The file: .npy, .npz or .parquet; or a folder of .npy or .parquet shards, in natural order of name."""
    key: str | None = None
    """Array of the .npz, or column of vectors of the Parquet file; None: features, x, images or data."""
    columns: Names | None = None
    """Columns of numbers of the Parquet file that are the features, in this order, by name or by pattern
    (emb_*); None: all that do not look like labels or ids."""
    label_key: str | None = None
    """Labels in the same file, or column of ``labels_path``; None: labels or y, where there is one."""
    labels_path: AbsolutePath | None = None
    """A file of labels, one per sample: .npy, .csv, .tsv or .txt. A table with a column of ids (``id_key``,
    id, or file) is joined by them, other files go by the order of the samples."""
    id_key: str | None = None
    """Column of the Parquet file, or array of the .npz, with ids of your own, which all results carry."""
    labels: Literal["auto", "none"] = "auto"
    """Labels where there are some, or none at all."""
    channels: Literal["auto", "first", "last"] = "auto"
    """Where four-dimensional images keep their channels; auto: the axis of size 1, 3 or 4."""

    def source(self) -> Source:
        """Embeddings as float32, images as uint8 or float32 in [0, 1]; labels where there are any.

        Raises:
            ValueError: no such file, an unknown kind, key or shape, shards that do not fit together, NaN or
                infinity, unfit labels.
        """
        whole = joined(self._shards())
        samples = in_memory(whole.samples, self.memory_limit)
        if whole.ids is not None and len(whole.ids) != len(samples):
            raise ValueError(
                f"data.id_key: {len(whole.ids)} ids for {len(samples)} samples; give one id per sample"
            )
        ids = SampleIds(range(len(samples)), own=whole.ids, files=whole.files, one_each=whole.one_each)
        labels, names, notes = self._labels(whole, ids)
        reading: dict[str, Any] = {}
        if whole.columns:
            reading["columns"] = list(whole.columns)
        elif whole.key:
            reading["key"] = whole.key
        return Source(samples, labels, names, ids, notes=(*whole.notes, *notes), reading=reading)

    def _labels(
        self, whole: Shard, ids: SampleIds
    ) -> tuple[np.ndarray | None, tuple[str, ...] | None, tuple[str, ...]]:
        """(class ids, class names, notes)."""
        raw, field = whole.labels, "data.label_key"
        notes: tuple[str, ...] = ()
        if self.labels == "none":
            return None, None, ()
        if self.labels_path is not None:
            raw, notes = read_labels(self.labels_path, self.label_key, self.id_key).of(ids)
            field = "data.labels_path"
        if raw is None:
            return None, None, ()
        labels, names = encode_labels(raw, field)
        if len(labels) != len(ids):
            raise ValueError(
                f"{field}: {len(labels)} labels for {len(ids)} samples; give one label per sample"
            )
        return labels, names, notes

    def _shards(self) -> list[Shard]:
        """Every file, opened."""
        if self.path.is_dir():
            paths = list_shards(self.path, aside=self.labels_path)
        elif self.path.is_file():
            paths = [self.path]
        else:
            what = "is not a regular file" if self.path.exists() else "is not a file"
            raise ValueError(
                f"data.path: '{self.path}' {what}; set data.path to a file that {gethostname()} sees"
            )
        limit = self.memory_limit // len(paths)
        label_key = None if self.labels_path else self.label_key
        request = Request(self.key, self.columns, label_key, self.id_key, self._reads_labels)
        shards: list[Shard] = []
        for path in paths:
            shards.append(self._shard(path, limit, request))
            if shards[0].columns:  # the same columns of the others, in whatever order these have them
                request = replace(request, columns=shards[0].columns)
        return shards

    @property
    def _reads_labels(self) -> bool:
        return self.labels == "auto" and self.labels_path is None

    def _shard(self, path: Path, memory_limit: int, request: Request) -> Shard:
        """One file; of what cannot stay there, up to ``memory_limit`` bytes are read into RAM."""
        match path.suffix.lower():
            case ".parquet":
                return open_parquet(path, request)
            case ".npy":
                for setting in ("id_key", "columns"):
                    if getattr(self, setting) is not None:
                        raise ValueError(
                            f"data.{setting}: '{path}' is an array without names; leave it out, or give a "
                            ".parquet file"
                        )
                return Shard(path, self._samples(ArrayFile(path, None, self.channels, memory_limit)))
            case ".npz":
                return self._npz(path, memory_limit, request)
        raise ValueError(f"data.path: '{path}' is neither .npy, .npz nor .parquet; convert it")

    def _npz(self, path: Path, memory_limit: int, request: Request) -> Shard:
        """One archive of arrays."""
        if self.columns is not None:
            raise ValueError(
                f"data.columns: '{path}' has no columns; leave it out, or name an array by data.key"
            )
        key = npz_key(path, request.key, _FEATURE_KEYS, "data.key")
        samples = self._samples(ArrayFile(path, key, self.channels, memory_limit))
        labels, ids = None, None
        if request.labelled:
            label_key = npz_key(path, request.label_key, _LABEL_KEYS, "data.label_key")
            labels = None if label_key is None else open_npz(path, label_key, math.inf)
        if request.id_key is not None:
            array = open_npz(path, npz_key(path, request.id_key, (), "data.id_key") or "", math.inf)
            ids = ids_of(array, f"data.id_key: array '{request.id_key}' of '{path}'")
        return Shard(path, samples, labels, key=key or "", ids=ids)

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


def names_in(path: Path) -> list[str]:
    """The columns of a Parquet file, or the arrays of an .npz; of shards those of the first; else none.

    Raises:
        ValueError: a damaged file.
    """
    if path.is_dir():
        path = list_shards(path, aside=None)[0]
    match path.suffix.lower():
        case ".parquet":
            with parquet_file(path) as file:
                return list(file.schema_arrow.names)
        case ".npz":
            return npz_names(path)
    return []


def _whole_intensities(stored: np.ndarray, file: ArrayFile) -> Samples:
    """Images saved as int64, say, with values of one byte."""
    if stored.size > file.memory_limit or stored.min() < 0 or stored.max() > 255:
        raise ValueError(
            f"data.path: the images of '{file.path}' are {stored.dtype}; save intensities 0..255 as uint8"
        )
    return ArraySamples(stored.astype(np.uint8))
