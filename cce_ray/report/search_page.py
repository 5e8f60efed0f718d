"""The page of a search: tables, plots, the winner's run file; one file, nothing to load from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cce_ray import __version__
from cce_ray.report.page import data_uri


@dataclass(frozen=True)
class Table:
    """Rows of named cells, in order."""

    columns: list[str]
    rows: list[list[tuple[str, Any]]]
    texts: tuple[str, ...] = ("state", "reason")
    champion: bool = False
    """Whether the first row is the winner."""


def search_page(
    title: str,
    lead: str,
    tables: Sequence[tuple[str, Table]],
    plots: Mapping[str, bytes],
    best: str,
    command: str,
) -> str:
    """As HTML; `tables` are (heading, table), `plots` PNG files by name."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cce_ray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("search.html.j2").render(
        title=title,
        lead=lead,
        tables=tables,
        plots={name: data_uri(png) for name, png in plots.items()},
        best=best,
        command=command,
        version=__version__,
    )
