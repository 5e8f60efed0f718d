"""The known labels of a semi-supervised run, and their part of every step."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from cce_ray.config import RunConfig
from cce_ray.data import Batches, Dataset, share, shown, to_device

_KEY = "supervision"


def known_labels(config: RunConfig, dataset: Dataset) -> np.ndarray | None:
    """(N,) int64: the class of every sample that is told, -1 elsewhere; None without supervision.

    Raises ValueError for labels that are missing, of unknown samples or classes, or fewer than classes.
    """
    wanted = config.supervision
    if not wanted.enabled:
        return None
    known = np.full(len(dataset.samples), -1, np.int64)
    if wanted.labels_path:
        for row, cluster in told_in(wanted.labels_path, dataset).items():
            known[row] = cluster
        known[np.setdiff1d(np.arange(len(known)), dataset.train_indices)] = -1
        told = int((known >= 0).sum())
        if told < dataset.num_clusters:
            raise ValueError(
                f"{_KEY}.labels_path: {told} of its samples are trained on, fewer than the "
                f"{dataset.num_clusters} clusters; give at least that many"
            )
    else:
        seed = config.runtime.seed if wanted.seed is None else wanted.seed
        rows = drawn(dataset, wanted.ratio, seed)
        assert dataset.labels is not None
        known[rows] = dataset.labels[rows]
    return known


def drawn(dataset: Dataset, ratio: float, seed: int) -> np.ndarray:
    """Rows of a share of the training samples, as many of each class as its size asks for, at least one."""
    labels = dataset.labels
    if labels is None:
        raise ValueError(
            f"{_KEY}.ratio: {ratio}, but the data have no labels to tell; give {_KEY}.labels_path, or labels"
        )
    own = labels[dataset.train_indices]
    classes = np.unique(own)
    count = round(ratio * len(own))
    if count < len(classes):
        raise ValueError(
            f"{_KEY}.ratio: {ratio} of {len(own)} samples is {count}, fewer than the {len(classes)} classes; "
            f"raise it to {len(classes) / len(own):.2g} or more"
        )
    if classes.max() >= dataset.num_clusters:
        raise ValueError(
            f"{_KEY}.ratio: {len(classes)} classes are told but only {dataset.num_clusters} clusters sought; "
            "raise data.num_clusters"
        )
    generator = np.random.default_rng([seed, 2])
    # Shuffled, then dealt class by class in proportion: place j of a class of n stands at (j + 1/2) / n.
    order = generator.permutation(len(own))
    place = np.empty(len(own))
    for kind in classes:
        members = order[own[order] == kind]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = -1.0
    return np.sort(dataset.train_indices[np.argsort(place, kind="stable")[:count]])


def told_in(path: Path, dataset: Dataset) -> dict[int, int]:
    """{row: cluster} of a file with columns id (or file) and label."""
    key = f"{_KEY}.labels_path"
    if not path.is_file():
        raise ValueError(f"{key}: '{path}' is not a file; give a .csv with the columns id and label")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            header = set(reader.fieldnames or ())
            id_column = "id" if "id" in header else "file"
            if not {id_column, "label"} <= header:
                raise ValueError(
                    f"{key}: '{path}' needs the columns id and label; it has {reader.fieldnames!s:.200}"
                )
            lines = [(line[id_column], line["label"]) for line in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{key}: '{path}' cannot be read as .csv ({error}); save it as UTF-8 text") from None
    try:
        rows = dataset.ids.rows_of(name for name, _ in lines)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    clusters: dict[int, int] = {}
    for row, (name, label) in zip(rows, lines, strict=True):
        cluster = _cluster_of(label, dataset, key)
        if clusters.setdefault(row, cluster) != cluster:
            raise ValueError(f"{key}: {shown(name)} has two labels; keep one of them")
    return clusters


def _cluster_of(label: str, dataset: Dataset, key: str) -> int:
    """The cluster of a class's name or of a number."""
    names = dataset.class_names or ()
    if label in names:
        cluster = names.index(label)
    elif re.fullmatch("[0-9]{1,18}", label):
        cluster = int(label)
    else:
        raise ValueError(
            f"{key}: {shown(label)} is not a class of the data nor a number; use one of {names[:10]}"
        )
    if cluster >= dataset.num_clusters:
        raise ValueError(
            f"{key}: label {shown(label)} is cluster {cluster} of {dataset.num_clusters}; raise "
            "data.num_clusters"
        )
    return cluster


@final
class Supervision:
    """The known labels, and the samples among them that join a step."""

    def __init__(
        self, config: RunConfig, known: np.ndarray, batches: Batches, rank_and_size: tuple[int, int]
    ) -> None:
        self.known = known
        self._rows = np.flatnonzero(known >= 0)
        self._batches, self._seed, self._settings = batches, config.runtime.seed, config.supervision
        self._rank, self._size = rank_and_size

    def of(self, indices: Tensor) -> np.ndarray:
        """(B,) int64: the known labels of samples `indices` (B,), -1 elsewhere."""
        found: np.ndarray = self.known[indices.numpy()]
        return found

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor, float]:
        """This rank's samples with known labels of a step: indices (n,) on the CPU, inputs (n, *shape),
        labels (n,), and the factor on their mean loss, whose mean over the ranks is then the whole draw's."""
        count = max(self._size, min(self._settings.batch_size, len(self._rows)))
        generator = np.random.default_rng([self._seed, step, 3])
        rows = generator.choice(self._rows, count, replace=count > len(self._rows))
        own = rows[share(count, self._rank, self._size)]
        inputs = self._batches.read(own)
        labels = to_device(torch.from_numpy(self.known[own]), inputs.device)
        factor = self._settings.weight * len(own) * self._size / count
        return torch.from_numpy(own), inputs, labels, factor
