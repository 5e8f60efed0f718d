"""A table of text, for the terminal and for a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Table:
    """A title, a heading a column, and rows of text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def markdown(table: Table) -> str:
    """The table below its title, numbers to the right."""
    lines = [table.headings, ["---", *["---:"] * (len(table.headings) - 1)], *table.rows]
    return f"## {table.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
