"""A finished grid as tables, notes and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from cce_ray.experiments.grid.cell import CellResult
from cce_ray.experiments.paper.published import Published
from cce_ray.experiments.provenance import commit_text, threads_text
from cce_ray.experiments.table import Table

Results = Mapping[tuple[str, str], CellResult]
"""{(row, column): what became of it}."""

_NOTHING = "-"


@final
@dataclass(frozen=True)
class Findings:
    """What a page is made of."""

    rows: Mapping[str, str]
    """{key: title}, in order."""
    columns: Mapping[str, str]
    results: Results
    paper: Mapping[tuple[str, str], Published]
    """Empty for what the paper has not measured."""

    def where(self, row: str, column: str) -> str:
        """A place in words."""
        return f"{self.rows[row]} on {self.columns[column]}"


def percent(mean: float | None, sd: float | None) -> str:
    """'73.51 ± 6.3', of numbers in percent; a dash without a mean."""
    if mean is None:
        return _NOTHING
    return f"{mean:.2f}" + (f" ± {sd:.1f}" if sd is not None else "")


def cell_text(result: CellResult, score: str) -> str:
    """The number, or what stands in its place."""
    if result.status != "done":
        return result.status
    mean, sd = result.mean(score), result.sd(score)
    return percent(None if mean is None else 100 * mean, None if sd is None else 100 * sd)


def score_table(title: str, score: str, found: Findings) -> Table:
    """One score of every cell, beside the paper's number where the grid has any."""
    headings = [""]
    for name in found.columns.values():
        headings += [name, "paper"] if found.paper else [name]
    lines = []
    for row, name in found.rows.items():
        line = [name]
        for column in found.columns:
            line.append(cell_text(found.results[row, column], score))
            if found.paper:
                line.append(percent(*found.paper[row, column].get(score, (None, None))))
        lines.append(line)
    return Table(title, headings, lines)


def seconds_table(found: Findings) -> Table:
    """Training and evaluation of one seed, in seconds."""
    lines = []
    for row, name in found.rows.items():
        summaries = [found.results[row, column].summary for column in found.columns]
        lines.append([name, *(f"{one.seconds:.1f}" if one else _NOTHING for one in summaries)])
    return Table("Seconds a seed", ["", *found.columns.values()], lines)


def reading(seeds: int, found: Findings, quick: Mapping[str, Any]) -> str:
    """How to read the numbers; `quick` is what a quick run changed, {dotted key: value}."""
    over = f"a mean ± standard deviation over {seeds} seeds" if seeds > 1 else "that of one seed"
    text = f"Every number is {over}, in percent; clusters are matched to classes by the Hungarian algorithm."
    if found.paper:
        text += (
            " `paper` is what the paper prints for this place. Data, features and settings are not the "
            "paper's own: compare the methods within a column."
        )
    if quick:
        changed = ", ".join(f"`{key}={value}`" for key, value in quick.items())
        text += f"\n\nThis was a quick run, in which {changed} stood in the place of what is said above."
    return text


def notes(found: Findings) -> list[str]:
    """What is absent, what was not run and why, what the seeds were warned of, and where it was measured."""
    absent: dict[str, None] = {}
    refused: dict[tuple[str, str], list[str]] = {}
    warned: list[str] = []
    for (row, column), result in found.results.items():
        if result.status == "absent":
            absent[f"{found.columns[column]}: skipped, {result.reason}."] = None
        elif result.reason:
            refused.setdefault((found.rows[row], result.reason), []).append(found.columns[column])
        if result.warnings:
            told = [text.partition("; try")[0] for text in result.warnings]
            warned.append(f"{found.where(row, column)}: {'; '.join(told)}")
    why = [f"{name} on {', '.join(places)}: not run, {reason}" for (name, reason), places in refused.items()]
    return [*absent, *why, *warned, *measured(found.results)]


def measured(results: Results) -> list[str]:
    """At which commits and on what the cells were measured; they may be older than the page."""
    done = [result.summary for result in results.values() if result.summary]
    if not done:
        return []
    commits = dict.fromkeys(commit_text(one.commit) for one in done)
    places = dict.fromkeys(f"{one.device}, {threads_text(one.threads)}" for one in done)
    return [f"Measured at commit {' and '.join(commits)} on {' and '.join(places)}."]


def details(found: Findings) -> dict[str, list[str]]:
    """The command that repeats every cell; every key of its configuration stands in the JSON file."""
    commands = [
        f"# {found.where(*place)}\n{result.command}"
        for place, result in found.results.items()
        if result.command
    ]
    heading = "The run of every cell (its whole configuration stands in the JSON file)"
    return {heading: ["```bash", *commands, "```"]} if commands else {}
