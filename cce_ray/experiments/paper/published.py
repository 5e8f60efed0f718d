"""The paper's own numbers, from `published_tables.json` (its source stands in it)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Published = Mapping[str, tuple[float, float | None]]
"""{score: (mean, standard deviation or None)} in percent; empty where the paper has no number."""


@cache
def paper_tables() -> dict[str, Any]:
    """The whole file."""
    file = Path(__file__).with_name("published_tables.json")
    tables: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return tables


def published(
    table: str, columns: Sequence[str] | None = None, scores: Sequence[str] = ("accuracy",)
) -> Callable[[str, str], Published]:
    """Look-up of a grid's `paper`: (row, column) -> the paper's numbers.

    Args:
        table: key in the file.
        columns: of the table; None: those that stand in the file.
        scores: what an entry holds. One score: its mean, or [mean, sd]; several: a mean each.

    A row `0.1/imsat` is the row `imsat` in the part `0.1` of the table.
    """
    content = paper_tables()[table]
    names = list(columns or content["columns"])

    def look_up(row: str, column: str) -> Published:
        entries: Any = content
        for key in row.split("/"):
            entries = entries.get(key, {}) if isinstance(entries, dict) else {}
        if not isinstance(entries, list) or column not in names:
            return {}
        entry = entries[names.index(column)]
        if not isinstance(entry, list):
            return {scores[0]: (entry, None)}
        if len(scores) == 1:
            return {scores[0]: (entry[0], entry[1])}
        return {score: (mean, None) for score, mean in zip(scores, entry, strict=True)}

    return look_up
