"""The page of a search: tables, plots, the winner's run file; one file, nothing to load from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cce_ray.report.page import data_uri, render


@dataclass(frozen=True)
class Table:
    """Rows of named cells, in order."""

    columns: list[str]
    rows: list[list[tuple[str, Any]]]
    texts: tuple[str, ...] = ("state", "reason")
    champion: bool = False
    """Whether the first row is the winner."""


def render_search(
    title: str,
    lead: str,
    tables: Sequence[tuple[str, Table]],
    plots: Mapping[str, bytes],
    best: str,
    command: str,
) -> str:
    """As HTML; `tables` are (heading, table), `plots` PNG files by name."""
    return render(
        "search.html.j2",
        title=title,
        lead=lead,
        tables=tables,
        plots={name: data_uri(png) for name, png in plots.items()},
        best=best,
        command=command,
    )
