"""Data in several files of one shape: one set, whose samples stay where they are."""

from __future__ import annotations

import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np

from cce_ray.data.storage.sample_ids import Chained, Repeated
from cce_ray.data.storage.samples import Samples

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
    """The columns of numbers that the features come from, in their order; none where rows are vectors."""
    key: str = ""
    """The array or column of vectors that the features come from, where it has a name."""
    ids: np.ndarray | None = None
    """(N,) the user's own: int64, or text as objects."""
    files: Sequence[str] | None = None
    """(N,) the file that each row comes from: an image, where a table says so; else the shard."""
    one_each: bool = False
    """Whether these differ from row to row."""
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


def is_shard(path: Path) -> bool:
    """Whether a file in a folder of shards is one of them: hidden files and those with a leading underscore
    are not."""
    return path.suffix.lower() in KINDS and not path.name.startswith((".", "_")) and path.is_file()


def natural(name: str) -> list[tuple[int, int, str]]:
    """The sorting key under which part_2 comes before part_10."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def list_shards(folder: Path, aside: Path | None) -> list[Path]:
    """The .npy files, or the .parquet files, directly in ``folder``, in natural order: part_2 before part_10.

    ``aside``, a file of labels, is left out.

    Raises:
        ValueError: no such files, several kinds, .npz, or more than this process may have open.
    """
    files = sorted(
        (path for path in folder.iterdir() if is_shard(path) and path != aside),
        key=lambda path: natural(path.name),
    )
    kinds = sorted({path.suffix.lower() for path in files})
    if not kinds:
        raise ValueError(
            f"data.path: '{folder}' is not a file; use data=folder for a folder of images, or fill it with "
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
    all_ids = [shard.ids for shard in shards if shard.ids is not None]
    names = [shard.path.name for shard in shards]
    one_each = all(shard.one_each for shard in shards)
    notes = list(dict.fromkeys(note for shard in shards for note in shard.notes))
    if names != sorted(names):
        before, after = next(pair for pair in pairwise(names) if pair[0] > pair[1])
        notes.append(f"shards are read in natural order: {before} before {after}")
    return Shard(
        first.path,
        ShardedSamples([shard.samples for shard in shards]),
        None if first.labels is None else _concatenated([np.asarray(shard.labels) for shard in shards]),
        first.columns,
        first.key,
        _concatenated(all_ids) if all_ids else None,
        Chained(
            [
                shard.files if one_each and shard.files is not None else Repeated(name, len(shard.samples))
                for name, shard in zip(names, shards, strict=True)
            ]
        ),
        one_each,
        tuple(notes),
    )


def _concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Labels or ids of all shards; where some are text, numbers become text as they are written."""
    if len({part.dtype.kind in "iuf" for part in parts}) == 1 and len({part.dtype for part in parts}) == 1:
        return np.concatenate(parts)
    if all(part.dtype.kind in "iub" for part in parts):
        return np.concatenate([part.astype(object) for part in parts])
    return np.array([str(value) for part in parts for value in part.tolist()], dtype=object)


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
    if first.key != shard.key:
        raise ValueError(
            f"data.path: features of '{shard.path}' are in '{shard.key}', but of '{first.path.name}' in "
            f"'{first.key}'; name the one with data.key"
        )
    if (first.labels is None) != (shard.labels is None):
        lacking, having = (first, shard) if first.labels is None else (shard, first)
        raise ValueError(
            f"data.label_key: '{lacking.path}' has no labels, but '{having.path.name}' has; give all shards "
            "labels or none"
        )
