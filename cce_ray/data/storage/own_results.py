"""Recognise what earlier commands of cce_ray and MLflow have written, so that it is not taken for data."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

_FOLDERS = (
    (
        "config.yaml",
        ("output_dir", "data", "model", "method", "pseudo_labels", "optimizer", "runtime"),
        (".lock", "mlflow.db", "summary.json"),
    ),
    ("search.yaml", ("search", "run", "budget"), (".lock", "trials", "leaderboard.csv")),
)
"""In the folder of a run or a search: its file of settings, top-level keys of it, what else may be there.

A copied run file alone does not make such a folder: one of the others must be beside it.
"""
_MLFLOW_STORE = re.compile(r"mlartifacts|mlruns")
_MLFLOW_ENTITY = re.compile(r"(m-)?[0-9a-f]{32}")
"""A run of MLflow, or a model."""
_RENDERED = re.compile(r"[Rr]endered by `(cce|python -m cce_ray\.)")
_FIRST_BYTES = 1 << 20


def is_own_folder(folder: Path, names: Collection[str]) -> bool:
    """Whether a run, a search or MLflow has made the folder, by marker files among its entries' `names`.

    Experiments keep their runs as `cce train` does, each in such a folder.
    """
    for file, keys, others in _FOLDERS:
        if file in names and any(name in names for name in others) and _has_keys(folder / file, keys):
            return True
    return _is_mlflow(folder, names)


def is_own_chart(folder: Path, name: str, names: Collection[str]) -> bool:
    """Whether an experiment or a benchmark has drawn the picture NAME.png for its page NAME.md."""
    stem, dot, suffix = name.rpartition(".")
    if f"{dot}{suffix}" != ".png" or f"{stem}.md" not in names:
        return False
    page = _text(folder / f"{stem}.md")
    return f"]({name})" in page and _RENDERED.search(page) is not None


def _has_keys(path: Path, keys: Collection[str]) -> bool:
    text = _text(path)
    return all(re.search(rf"^{key}:", text, re.MULTILINE) for key in keys)


def _text(path: Path) -> str:
    """The beginning of a regular file, empty where it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_FIRST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_mlflow(folder: Path, names: Collection[str]) -> bool:
    """Whether it holds the artifacts of one run or model, or of a whole store."""
    if _MLFLOW_ENTITY.fullmatch(folder.name):
        return "artifacts" in names
    if not _MLFLOW_STORE.fullmatch(folder.name):
        return False
    try:
        # A server puts the runs of an experiment into a folder of their own.
        return any(
            _MLFLOW_ENTITY.fullmatch(path.name) and (path / "artifacts").is_dir()
            for pattern in ("*", "*/*")
            for path in folder.glob(pattern)
        )
    except OSError:
        return False
