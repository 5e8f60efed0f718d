"""From a source to the data set of a run: limit, imbalance, split, number of clusters."""

from __future__ import annotations

import numpy as np

from cce_ray.data.data_settings import DataSettings
from cce_ray.data.dataset import Dataset
from cce_ray.data.long_tail import tailed
from cce_ray.data.storage.sample_ids import SampleIds
from cce_ray.data.storage.samples import SubsetSamples, in_memory


def load_dataset(settings: DataSettings) -> Dataset:
    """The data to cluster: the source after ``limit``, ``imbalance``, ``split`` and ``num_clusters``.

    Raises:
        ValueError: one line with the remedy: the data are missing or unfit, hold no samples, or lack the
            labels that ``imbalance`` or an unset ``num_clusters`` needs.
    """
    if settings.split == "official" and not settings.has_official_split:  # before minutes of reading
        raise ValueError(
            f"data.split: '{settings.name}' has no official split; use 'same' or a share such as 0.2"
        )
    source = settings.source()
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


def _split(
    settings: DataSettings, labels: np.ndarray | None, count: int, official_split: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if settings.split == "official":
        assert official_split is not None, "refused above"
        held_out = official_split + settings.chosen_rows(count - official_split)
        training = settings.chosen_rows(official_split)
        return _imbalanced(settings, labels, training), _imbalanced(settings, labels, held_out)
    rows = _imbalanced(settings, labels, settings.chosen_rows(count))
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
