"""The checks as people see them."""

from __future__ import annotations

from cce_ray.doctor.check import Check


def show(checks: list[Check]) -> None:
    """A table, and one line that sums it up."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    marks = {"ok": "green", "broken": "bold red", "note": "yellow", "-": "dim"}
    counts = dict.fromkeys(marks, 0)
    for check in checks:
        word = "ok" if check.ok else "broken" if check.ok is False else "note" if check.remedy else "-"
        counts[word] += 1
        text = Text(check.found)
        if check.remedy:
            text.append(f"\n-> {check.remedy}", style=marks[word])
        table.add_row(Text(word, style=marks[word]), check.name, text)
    console.print(table)
    verdict = f"{counts['broken']} broken" if counts["broken"] else "nothing broken"
    console.print(f"{verdict}, {counts['note']} to note" if counts["note"] else verdict)
