"""Labels from a file of their own."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from cce_ray.data.array_files import first_line, open_npy

HEADERS = ("label", "labels", "class", "target", "y")


def read_labels(path: Path, column: str | None) -> np.ndarray:
    """Labels (N,) as they stand in a .npy, .csv, .tsv or .txt file.

    Args:
        path: the file.
        column: of a .csv or .tsv with a header line; None: the only column there is.

    Raises:
        ValueError: no such file or column, an unknown kind, a damaged file.
    """
    if not path.is_file():
        raise ValueError(f"data.labels_path: '{path}' is no file; set it to a .npy, .csv or .txt file")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.asarray(open_npy(path, "data.labels_path"))
    if suffix not in (".csv", ".tsv", ".txt"):
        raise ValueError(f"data.labels_path: '{path}' is neither .npy, .csv, .tsv nor .txt; convert it")
    try:
        return numbers_or_texts(_cells(path, suffix, column))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"data.labels_path: '{path}' cannot be read as text ({first_line(error)}); save it as UTF-8"
        ) from error


def numbers_or_texts(cells: list[str]) -> np.ndarray:
    """int64 where every cell is a whole number (10 then sorts after 9), else float64, else text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(cell) for cell in cells])
        except ValueError:
            continue
    return np.array(cells)


def _cells(path: Path, suffix: str, column: str | None) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        if suffix == ".txt":
            return _without_header([line.strip() for line in file if line.strip()])
        rows = [row for row in csv.reader(file, delimiter="\t" if suffix == ".tsv" else ",") if row]
    if not rows:
        return []
    if column is not None:
        if column not in rows[0]:
            raise ValueError(
                f"data.label_key: '{path}' has no column '{column}'; it has {', '.join(rows[0])}"
            )
        place = rows[0].index(column)
        return [_cell(row, place, path) for row in rows[1:]]
    if len(rows[0]) > 1:
        raise ValueError(
            f"data.label_key: '{path}' has {len(rows[0])} columns ({', '.join(rows[0])[:80]}); name the "
            "one with the labels"
        )
    return _without_header([_cell(row, 0, path) for row in rows])


def _cell(row: list[str], place: int, path: Path) -> str:
    if place >= len(row):
        raise ValueError(f"data.labels_path: '{path}' has a line with {len(row)} cells ({row}); complete it")
    return row[place].strip()


def _without_header(cells: list[str]) -> list[str]:
    return cells[1:] if cells and cells[0].lower() in HEADERS else cells
