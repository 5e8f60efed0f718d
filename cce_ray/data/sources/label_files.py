"""Labels from a file of their own."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from cce_ray.data.storage.array_files import first_line, open_npy
from cce_ray.data.storage.sample_ids import SampleIds, shown

_HEADERS = ("label", "labels", "class", "target", "y")
_ID_HEADERS = ("id", "file")


@final
@dataclass(frozen=True)
class LabelFile:
    """What a file of labels holds."""

    path: Path
    labels: np.ndarray
    """(n,) as they are in the file."""
    ids: list[str] | None = None
    """(n,) the ids beside them."""
    id_column: str = ""

    def of(self, samples: SampleIds) -> tuple[np.ndarray, tuple[str, ...]]:
        """(N,) the labels of all samples, joined by ids where the file has some, and notes.

        Raises:
            ValueError: ids that do not fit the data, samples without a label or with two.
        """
        if self.ids is None:
            return self.labels, ()
        if not self._joins(samples):
            return self.labels, (
                f"labels of '{self.path}' go by the order of the samples: its column '{self.id_column}' does "
                "not name them; set data.id_key to join by ids",
            )
        by_id: dict[str, int] = {}
        for row, name in enumerate(self.ids):
            first = by_id.setdefault(name, row)
            if self.labels[first] != self.labels[row]:
                raise ValueError(
                    f"data.labels_path: {shown(name)} has two labels in '{self.path}'; keep one of them"
                )
        names: list[str] = list(samples)
        if names and names[0] not in by_id and samples.own is None:
            names = [str(place) for place in samples.places]
        missing = [name for name in names if name not in by_id]
        if missing:
            raise ValueError(
                f"data.labels_path: {len(missing)} of {len(names)} samples have no label in '{self.path}' "
                f"({shown(missing[0])} is the first, its ids are like {shown(self.ids[0])}); add them, or "
                f"remove its column '{self.id_column}' if its lines are in the order of the samples"
            )
        extra = len(by_id) - len(set(names))
        notes = (f"{extra} labels of '{self.path}' belong to no sample of the data",) if extra else ()
        return self.labels[[by_id[name] for name in names]], notes

    def _joins(self, samples: SampleIds) -> bool:
        """Whether the ids are those of the samples: their own, the names of their files, or their places."""
        assert self.ids is not None
        if samples.own is not None or set(self.ids) & {samples[row] for row in range(len(samples))}:
            return True
        return set(self.ids) == {str(place) for place in samples.places}


def read_labels(path: Path, column: str | None, id_column: str | None = None) -> LabelFile:
    """Labels as they are in a .npy, .csv, .tsv or .txt file, with ids where a table has a column of them.

    Args:
        path: the file.
        column: of a .csv or .tsv with a header line; None: the only column besides that of the ids.
        id_column: the column of ids; None, or where there is none called so: id or file.

    Raises:
        ValueError: no such file or column, an unknown kind, a damaged file, a missing label.
    """
    if not path.is_file():
        raise ValueError(f"data.labels_path: '{path}' is not a file; set it to a .npy, .csv or .txt file")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return LabelFile(path, np.asarray(open_npy(path, "data.labels_path")))
    if suffix not in (".csv", ".tsv", ".txt"):
        raise ValueError(f"data.labels_path: '{path}' is neither .npy, .csv, .tsv nor .txt; convert it")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if suffix == ".txt":
                lines = [line.strip() for line in file]
                return LabelFile(path, _numbers_or_texts(_without_header([line for line in lines if line])))
            rows = [row for row in csv.reader(file, delimiter="\t" if suffix == ".tsv" else ",") if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"data.labels_path: '{path}' cannot be read as text ({first_line(error)}); save it as UTF-8"
        ) from error
    return _table(path, rows, column, id_column)


def _numbers_or_texts(cells: list[str]) -> np.ndarray:
    """Integers where every cell is one (10 then sorts after 9; up to 99 digits, as objects beyond int64),
    else float64 where every cell is a number, else text as it is written."""
    if all(re.fullmatch(r"0|-?[1-9][0-9]{0,98}", cell) for cell in cells):
        values = [int(cell) for cell in cells]
        small = all(-(2**63) <= value < 2**63 for value in values)
        return np.array(values, dtype=np.int64 if small else object)
    if not any("_" in cell or len(cell) > 100 or re.fullmatch(r"-?0[0-9]+", cell) for cell in cells):
        try:
            return np.array([float(cell) for cell in cells])
        except ValueError:
            pass
    return np.array(cells, dtype=object)  # not of a fixed width: one long cell would cost its length in all


def _table(path: Path, rows: list[list[str]], column: str | None, id_column: str | None) -> LabelFile:
    """The labels of a .csv or .tsv file."""
    if not rows:
        return LabelFile(path, np.array([]))
    header = [name.strip() for name in rows[0]]
    if column is None and len(header) == 1:
        return LabelFile(path, _numbers_or_texts(_without_header([_cell(row, 0, path) for row in rows])))
    ids = next((name for name in (id_column, *_ID_HEADERS) if name in header and name != column), None)
    others = [name for name in header if name != ids]
    if column is None and len(others) == 1 and ids is not None:
        column = others[0]
    if column is None:
        raise ValueError(
            f"data.label_key: '{path}' has {len(header)} columns ({shown(', '.join(header))}); name the "
            "one with the labels"
        )
    if column not in header:
        raise ValueError(
            f"data.label_key: '{path}' has no column '{column}'; it has {shown(', '.join(header))}"
        )
    labels = _numbers_or_texts([_cell(row, header.index(column), path) for row in rows[1:]])
    if ids is None:
        return LabelFile(path, labels)
    return LabelFile(path, labels, [_cell(row, header.index(ids), path) for row in rows[1:]], ids)


def _cell(row: list[str], place: int, path: Path) -> str:
    if place >= len(row):
        raise ValueError(
            f"data.labels_path: '{path}' has a line with {len(row)} cells ({row!s:.80}); complete it"
        )
    cell = row[place].strip()
    if not cell:
        raise ValueError(f"data.labels_path: '{path}' has an empty cell in the line {row!s:.80}; fill it in")
    return cell


def _without_header(cells: list[str]) -> list[str]:
    return cells[1:] if cells and cells[0].lower() in _HEADERS else cells
