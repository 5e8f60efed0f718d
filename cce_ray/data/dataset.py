"""A data set as every source returns it, and what the sources share on the way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np

from cce_ray.data.long_tail import tailed
from cce_ray.data.sample_ids import SampleIds
from cce_ray.data.samples import Samples, SubsetSamples, in_memory

if TYPE_CHECKING:
    from cce_ray.data.data_settings import DataSettings


@final
@dataclass(frozen=True)
class Dataset:
    """Samples, what is known of them, and which of them train and evaluate."""

    name: str
    samples: Samples
    labels: np.ndarray | None
    """(N,) int64 class ids 0..C-1, None when unknown."""
    class_names: tuple[str, ...] | None
    ids: SampleIds
    """What the samples are called."""
    train_indices: np.ndarray
    """int64, ascending; the same as ``evaluation_indices`` unless ``split`` says otherwise."""
    evaluation_indices: np.ndarray
    num_clusters: int
    notes: tuple[str, ...] = ()
    """What the user should know, one line each."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """See ``Source.reading``."""

    @property
    def kind(self) -> Literal["images", "embeddings"]:
        """By the shape of a sample."""
        return "images" if len(self.samples.shape) == 3 else "embeddings"


@final
@dataclass(frozen=True)
class Source:
    """All that a source holds, before anything is chosen of it: enough to label it with a trained model."""

    samples: Samples
    labels: np.ndarray | None = None
    """(N,) int64 class ids 0..C-1."""
    class_names: tuple[str, ...] | None = None
    ids: SampleIds | None = None
    """What the samples are called; None: by their places."""
    official_split: int | None = None
    """Where the source's own test samples begin; they end the samples."""
    notes: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this source that the data themselves decided, by key: a model remembers them, and new data
    are read with them."""


def encode_labels(raw: np.ndarray, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Integers or strings (N,) as (int64 class ids 0..C-1, names of the classes), in sorted order.

    Raises:
        ValueError: labels that are missing, negative, not whole numbers, or not one per sample; ``source``
            names the setting they came from.
    """
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim != 1:
        raise ValueError(f"{source}: labels have shape {raw.shape}; give one class per sample, shape (N,)")
    if raw.dtype.kind == "f":
        raw = _whole_numbers(raw, source)
    elif raw.dtype.kind == "S":
        raw = np.char.decode(raw, "utf-8", "backslashreplace")
    elif raw.dtype.kind == "O":
        raw = _scalars(raw, source)
    elif raw.dtype.kind not in "biuUMm":
        raise ValueError(f"{source}: labels are {raw.dtype}; use whole numbers from 0 or text")
    if raw.dtype.kind in "iO" and len(raw) and not isinstance(raw[0], str) and raw.min() < 0:
        row = int(np.argmax(raw < 0))
        raise ValueError(
            f"{source}: label {raw[row]} in row {row} is negative; drop such rows or leave the labels out"
        )
    classes, encoded = np.unique(raw, return_inverse=True)
    return encoded.astype(np.int64).reshape(-1), tuple(str(value) for value in classes)


def _whole_numbers(raw: np.ndarray, source: str) -> np.ndarray:
    """Floats that are whole numbers, as int64 or, beyond its range, as Python's integers."""
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(raw) & (raw == np.round(raw)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{source}: label {raw[row]} in row {row} is not a class; use whole numbers from 0 or text"
        )
    if len(raw) and np.abs(raw).max() >= 2.0**53:
        row = int(np.argmax(np.abs(raw)))
        raise ValueError(
            f"{source}: label {raw[row]} in row {row} is beyond what a floating-point number tells apart; "
            "save the labels as integers or text"
        )
    return raw.astype(np.int64)


def _scalars(raw: np.ndarray, source: str) -> np.ndarray:
    """Objects as one kind: Python's integers of any size, or text."""
    whole = True
    for row, value in enumerate(raw):
        if isinstance(value, list | tuple | dict | set | np.ndarray):
            shown = " ".join(str(value).split())[:40]
            raise ValueError(
                f"{source}: the label in row {row} is not one value ({shown}); give one class per sample"
            )
        if value is None or value != value:
            raise ValueError(
                f"{source}: the label in row {row} is missing; drop such rows or leave the labels out"
            )
        whole = whole and isinstance(value, int | np.integer) and not isinstance(value, bool)
    return raw if whole else np.array([str(value) for value in raw], dtype=object)


def assemble(settings: DataSettings, source: Source) -> Dataset:
    """Apply ``limit``, ``imbalance``, ``split`` and ``num_clusters`` to what a source has read.

    Raises:
        ValueError: no samples, an unknown number of clusters, no labels for ``imbalance``.
    """
    samples, labels = source.samples, source.labels
    ids = source.ids or SampleIds(range(len(samples)))
    if not len(samples):
        raise ValueError("data: no samples; point data at a source that holds some")
    if labels is not None and len(labels) != len(samples):
        raise ValueError(f"data: {len(labels)} labels for {len(samples)} samples; give one label per sample")
    train, evaluation = _split(settings, labels, len(samples), source.official_split)
    rows = np.union1d(train, evaluation)
    if len(rows) < len(samples):
        samples = in_memory(SubsetSamples(samples, rows), settings.memory_limit)
        labels = None if labels is None else labels[rows]
        ids = ids.subset(rows)
        train, evaluation = np.searchsorted(rows, train), np.searchsorted(rows, evaluation)
    num_clusters = _num_clusters(settings, source.class_names)
    return Dataset(
        name=settings.name,
        samples=samples,
        labels=labels,
        class_names=source.class_names,
        ids=ids,
        train_indices=train,
        evaluation_indices=evaluation,
        num_clusters=num_clusters,
        notes=source.notes,
        reading=source.reading,
    )


def chosen_rows(settings: DataSettings, count: int) -> np.ndarray:
    """The rows that ``limit`` leaves of ``count``: all, or a seeded choice, ascending."""
    if settings.limit is None or settings.limit >= count:
        return np.arange(count)
    generator = np.random.default_rng(settings.split_seed)
    return np.sort(generator.choice(count, size=settings.limit, replace=False))


def _split(
    settings: DataSettings, labels: np.ndarray | None, count: int, official_split: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if settings.split == "official":
        assert official_split is not None, "DataSettings.load refuses sources without"
        held_out = official_split + chosen_rows(settings, count - official_split)
        training = chosen_rows(settings, official_split)
        return _imbalanced(settings, labels, training), _imbalanced(settings, labels, held_out)
    rows = _imbalanced(settings, labels, chosen_rows(settings, count))
    if settings.split == "same":
        return rows, rows
    assert isinstance(settings.split, float)
    size = round(settings.split * len(rows))
    if not 0 < size < len(rows):
        raise ValueError(
            f"data.split: a held-out share of {settings.split} leaves {size} of {len(rows)} samples to "
            "evaluate; use a share that leaves at least one on either side"
        )
    # Drawn apart from `limit`, or the same seed would tie the choice to the split.
    shuffled = np.random.default_rng([settings.split_seed, 1]).permutation(rows)
    return np.sort(shuffled[size:]), np.sort(shuffled[:size])


def _imbalanced(settings: DataSettings, labels: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    if settings.imbalance == 1:
        return rows
    if labels is None:
        raise ValueError(
            f"data.imbalance: {settings.imbalance:g}, but the data have no labels; leave it out or give some"
        )
    kept: np.ndarray = rows[tailed(labels[rows], settings.imbalance, settings.split_seed)]
    return kept


def _num_clusters(settings: DataSettings, class_names: tuple[str, ...] | None) -> int:
    if settings.num_clusters is not None:
        return settings.num_clusters
    if class_names is None:
        raise ValueError(
            "data.num_clusters: not set, and the data have no labels to count; say how many to find, "
            "e.g. --set data.num_clusters=10"
        )
    if len(class_names) < 2:
        raise ValueError(
            f"data.num_clusters: not set, and all labels are '{class_names[0]}'; say how many to find, "
            "e.g. --set data.num_clusters=10"
        )
    return len(class_names)
