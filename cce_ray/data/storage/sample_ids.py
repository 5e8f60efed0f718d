"""What the samples of a source are called: by their place, by the user's own ids, by their files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import numpy as np

SHOWN = 80
"""Characters of a name in a message."""


@final
class SampleIds(Sequence[str]):
    """The ids of N samples, the same wherever a sample is named: results, report, label files, messages.

    As a sequence it gives what people read: the file's name where every sample has one of its own, else the
    id. Nothing is made per sample before it is asked for, so that a billion rows cost nothing.

    Args:
        places: (N,) each sample's place in its source, a range or an int64 array.
        own: (N,) the user's own ids, int64 or text (``data.id_key``); None: the places are the ids.
        files: (N,) the file that each sample comes from; None: all come from one.
        one_each: whether every sample has a file of its own, whose name then is the sample's.
    """

    def __init__(
        self,
        places: range | np.ndarray,
        *,
        own: np.ndarray | None = None,
        files: Sequence[str] | None = None,
        one_each: bool = False,
    ) -> None:
        assert own is None or len(own) == len(places)
        assert files is None or len(files) == len(places)
        self.places, self.own, self.files = places, own, files
        self._one_each = one_each and files is not None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        """The name of one sample (an integer), or the ids of several (a slice)."""
        if isinstance(index, slice):
            return SampleIds(
                self.places[index],
                own=None if self.own is None else self.own[index],
                files=None if self.files is None else self.files[index],
                one_each=self._one_each,
            )
        index = range(len(self))[int(index)]
        if self._one_each and self.own is None:
            assert self.files is not None
            return self.files[index]
        return str((self.places if self.own is None else self.own)[index])

    def subset(self, rows: np.ndarray) -> SampleIds:
        """The ids of some samples: rows (n,) int64."""
        return SampleIds(
            _of(self.places, rows),
            own=None if self.own is None else self.own[rows],
            files=None if self.files is None else Picked(self.files, rows),
            one_each=self._one_each,
        )

    @property
    def are_text(self) -> bool:
        """Whether the column ``id`` of results holds text, not int64."""
        return self.own is not None and self.own.dtype.kind != "i"

    def column(self, rows: np.ndarray) -> np.ndarray:
        """The column ``id`` of results for samples ``rows`` (n,): int64, or text as objects."""
        if self.own is not None:
            return self.own[rows]
        return _of(self.places, rows)

    def names(self, rows: np.ndarray) -> np.ndarray:
        """What people call samples ``rows`` (n,): as ``column``, or their files where each has its own."""
        if self._one_each and self.own is None:
            return np.array([self[row] for row in rows], dtype=object)
        return self.column(rows)

    def rows_of(self, names: Iterable[str]) -> list[int]:
        """The rows of samples by their names or, where these are file names, by their places.

        Raises:
            ValueError: a name that no sample has, or several have. The message begins with the name.
        """
        by_name = _rows(self)
        by_place = _rows(map(str, self.places)) if self._one_each and self.own is None else {}
        rows = []
        for name in names:
            row = by_name.get(name, by_place.get(name))
            if row is None:
                example = f" (they are called like {shown(self[0])})" if len(self) else ""
                raise ValueError(f"{shown(name)} is not a sample of the data{example}; correct the id")
            if row < 0:
                raise ValueError(f"{shown(name)} is the id of several samples; use ids that differ")
            rows.append(row)
        return rows


@final
class Picked(Sequence[str]):
    """Some entries of a sequence, by their positions (n,) int64."""

    def __init__(self, whole: Sequence[str], rows: np.ndarray) -> None:
        self._whole, self._rows = whole, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Picked(self._whole, self._rows[index])
        return self._whole[int(self._rows[index])]


@final
class Repeated(Sequence[str]):
    """One text so many times."""

    def __init__(self, text: str, count: int) -> None:
        self._text, self._count = text, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Repeated(self._text, len(range(self._count)[index]))
        return self._text


@final
class Chained(Sequence[str]):
    """Sequences one after the other."""

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        self._parts, self._ends = list(parts), np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Picked(self, np.arange(len(self))[index])
        row = range(len(self))[index]
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._parts[part][row - int(self._ends[part]) + len(self._parts[part])]


def shown(text: str) -> str:
    """A text of the user's as a message gives it: quoted, in one line, not too long."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def ids_of(values: np.ndarray, what: str) -> np.ndarray:
    """The user's ids (N,) as int64, or as texts in an array of objects.

    Raises:
        ValueError: not one value a row, or numbers with fractions; ``what`` names them.
    """
    if values.ndim != 1:
        raise ValueError(f"{what} has shape {values.shape}; give one id a row")
    if values.dtype.kind == "f":
        raise ValueError(f"{what} holds {values.dtype}, not whole numbers or text; name another")
    if values.dtype.kind in "iu" and (not len(values) or values.max() <= np.iinfo(np.int64).max):
        return values.astype(np.int64)
    return np.array([str(value) for value in values.tolist()], dtype=object)


def _of(places: range | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """places[rows] as int64."""
    if isinstance(places, np.ndarray):
        return places[rows].astype(np.int64)
    return places.start + places.step * np.asarray(rows, np.int64)


def _rows(names: Iterable[str]) -> dict[str, int]:
    """{name: row}, -1 for a name that several rows have."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        rows[name] = -1 if name in rows else row
    return rows
