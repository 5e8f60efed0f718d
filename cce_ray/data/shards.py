"""Data in several files of one shape: one set, whose samples stay where they are."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np

from cce_ray.data.samples import Samples

KINDS = (".npy", ".npz", ".parquet")


@final
@dataclass(frozen=True)
class Shard:
    """What one file holds."""

    path: Path
    samples: Samples
    labels: np.ndarray | None = None
    """(N,) as they stand in the file."""
    columns: tuple[str, ...] = ()
    """Those the features come from, in their order."""
    notes: tuple[str, ...] = ()


@final
class ShardedSamples:
    """The samples of several sources of one shape and dtype, one after the other."""

    array = None

    def __init__(self, shards: Sequence[Samples]) -> None:
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.shape = shards[0].shape
        self.dtype = shards[0].dtype
        assert all((shard.shape, shard.dtype) == (self.shape, self.dtype) for shard in shards)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See ``Samples.read``. Every shard is asked once, for its rows in ascending order."""
        order = np.argsort(indices, kind="stable")
        rows = indices[order]
        assert not len(rows) or (rows[0] >= 0 and rows[-1] < len(self)), "no such rows"
        block = np.empty((len(indices), *self.shape), dtype=self.dtype)
        parts = pairwise(np.searchsorted(rows, self._starts))
        for shard, start, (first, last) in zip(self._shards, self._starts, parts, strict=False):
            if first < last:
                block[order[first:last]] = shard.read(rows[first:last] - start)
        return block


def list_shards(folder: Path, aside: Path | None) -> list[Path]:
    """The .npy files, or the .parquet files, directly in ``folder``, sorted by name.

    Hidden files and those with a leading underscore are left out, as is ``aside`` (labels may lie there).

    Raises:
        ValueError: no such files, several kinds, .npz, or more than this process may have open.
    """
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in KINDS
        and path.is_file()
        and not path.name.startswith((".", "_"))
        and path != aside
    )
    kinds = sorted({path.suffix.lower() for path in files})
    if not kinds:
        raise ValueError(
            f"data.path: '{folder}' is no file; use data=folder for a folder of images, or fill it with "
            "shards, .npy or .parquet"
        )
    if len(kinds) > 1 or kinds == [".npz"]:
        raise ValueError(
            f"data.path: '{folder}' holds {' and '.join(kinds)} files; keep shards of one kind in it, "
            ".npy or .parquet"
        )
    _refuse_too_many(folder, len(files), each=1 if kinds == [".npy"] else 2)
    return files


def _refuse_too_many(folder: Path, count: int, each: int) -> None:
    """A mapped file counts as an open one; a copy for random reads has a lock besides."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = each * count + 128
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        raise ValueError(
            f"data.path: the {count} shards in '{folder}' take {needed} open files, and a process may have "
            f"{allowed}; merge some, or raise the limit (ulimit -n {needed})"
        )


def joined(shards: Sequence[Shard]) -> Shard:
    """All shards as one, named by the first. Raises ValueError where they do not fit together."""
    first = shards[0]
    if len(shards) == 1:
        return first
    for shard in shards:
        _refuse_unequal(first, shard)
    return Shard(
        first.path,
        ShardedSamples([shard.samples for shard in shards]),
        None if first.labels is None else np.concatenate([np.asarray(shard.labels) for shard in shards]),
        first.columns,
        tuple(dict.fromkeys(note for shard in shards for note in shard.notes)),
    )


def _refuse_unequal(first: Shard, shard: Shard) -> None:
    one, other = first.samples, shard.samples
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        raise ValueError(
            f"data.path: samples in '{shard.path}' are {other.dtype} {other.shape}, but in "
            f"'{first.path.name}' {one.dtype} {one.shape}; make all shards alike"
        )
    if first.columns != shard.columns:
        raise ValueError(
            f"data.path: features of '{shard.path}' come from {', '.join(shard.columns)[:80]}, but of "
            f"'{first.path.name}' from {', '.join(first.columns)[:80]}; give all shards the same columns"
        )
    if (first.labels is None) != (shard.labels is None):
        lacking, having = (first, shard) if first.labels is None else (shard, first)
        raise ValueError(
            f"data.label_key: '{lacking.path}' has no labels, but '{having.path.name}' has; give all shards "
            "labels or none"
        )
