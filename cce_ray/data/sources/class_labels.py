"""Labels as they are given, as class ids."""

from __future__ import annotations

import numpy as np


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
