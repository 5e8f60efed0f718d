"""A table of runs: rows (methods, weights) and columns (data) of cells, each a run over some seeds.

What a cell changes of its run, later over earlier: the row's changes, the column's, the cell's, those of a
quick run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from pathlib import Path
from typing import Any, final

from cce_ray.distributed import Work
from cce_ray.experiments.experiment import Options, Outcome
from cce_ray.experiments.grid.cell import Cell, CellResult, Measure
from cce_ray.experiments.grid.cell_run import planned_cell
from cce_ray.experiments.grid.page import (
    Findings,
    Results,
    cell_text,
    details,
    notes,
    reading,
    score_table,
    seconds_table,
)
from cce_ray.experiments.paper.published import Published
from cce_ray.runs import Listener


@final
@dataclass(frozen=True)
class Row:
    """A line of the table."""

    title: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """{dotted key: value}."""


@final
@dataclass(frozen=True)
class Column:
    """A data set."""

    title: str
    changes: Callable[[Options], Mapping[str, Any]] = lambda options: {}
    """{dotted key: value} that lead to the data; may make them, below `options.work`."""
    needs: Sequence[str] = ()
    """Files below `options.data` without which the column is skipped."""


@final
@dataclass(frozen=True)
class Quick:
    """What `--quick` makes of a grid."""

    seeds: int = 2
    rows: Sequence[str] | None = None
    """Keys; None: all."""
    columns: Sequence[str] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Grid:
    """A declared experiment; `run = Grid(...).run` makes it one."""

    title: str
    text: str
    """Markdown above the tables: what is shown, and where it departs from the paper."""
    rows: Mapping[str, Row]
    columns: Mapping[str, Column]
    cell: Callable[[str, str], Cell | str]
    """(row, column) -> what runs there, or the reason why nothing can."""
    seeds: int = 6
    quick: Quick = Quick()
    scores: Mapping[str, str] = field(default_factory=lambda: {"accuracy": "Accuracy"})
    """{score: its title}; a table each."""
    paper: Callable[[str, str], Published] | None = None
    """(row, column) -> the paper's numbers, for example `published("table6")`."""
    measure: Measure | None = None
    """Scores that a run does not have by itself."""
    picture: Callable[[Results], bytes] | None = None
    caption: str = ""

    def run(self, options: Options, listener: Listener) -> Outcome:
        """Run what is missing, and render everything."""
        rows = self._chosen(self.rows, self.quick.rows, options)
        columns = self._chosen(self.columns, self.quick.columns, options)
        seeds = options.seeds or (self.quick.seeds if options.quick else self.seeds)
        results: dict[tuple[str, str], CellResult] = {}

        def found(result: CellResult) -> None:
            results[result.row, result.column] = result
            place = f"{rows[result.row].title}, {columns[result.column].title}"
            if result.reason and result.status != "absent":
                listener.warn(f"{place}: {result.reason}")
            told = cell_text(result, next(iter(self.scores)))
            listener.note(f"{len(results)}/{len(rows) * len(columns)} {place}: {told}")

        works: list[Work[CellResult]] = []
        for column, source in columns.items():
            lacking = [file for file in source.needs if not (options.data / file).exists()]
            if lacking:
                listener.warn(f"{source.title}: skipped, {lacking[0]} is not in {options.data}")
            for row in rows:
                if lacking:
                    found(CellResult(row, column, "absent", f"{lacking[0]} is not in the data folder"))
                    continue
                planned = self._planned(row, column, seeds, options)
                works.append(planned) if isinstance(planned, Work) else found(planned)
        for _, result in options.pool.results(works, listener):
            found(result)
        ordered = {(row, column): results[row, column] for column in columns for row in rows}
        return self._outcome(rows, columns, seeds, ordered, options)

    def cell_of(self, row: str, column: str, options: Options) -> Cell | str:
        """The cell with the changes of its row, its column and of a quick run."""
        cell = self.cell(row, column)
        if isinstance(cell, str):
            return cell
        changes = {
            **self.rows[row].changes,
            **self.columns[column].changes(options),
            **cell.changes,
            **(self.quick.changes if options.quick else {}),
        }
        return Cell(cell.run, {key: _located(value, options) for key, value in changes.items()})

    def _planned(self, row: str, column: str, seeds: int, options: Options) -> Work[CellResult] | CellResult:
        cell = self.cell_of(row, column, options)
        if isinstance(cell, str):
            return CellResult(row, column, "not run", cell)
        base = options.work / re.sub(r"[^A-Za-z0-9.-]+", "_", f"{row}-{column}")
        return planned_cell(row, column, cell, base, seeds, options.pool.threads, self.measure)

    def _chosen(
        self, everything: Mapping[str, Any], wanted: Sequence[str] | None, options: Options
    ) -> dict[str, Any]:
        return {key: everything[key] for key in (wanted if options.quick and wanted else everything)}

    def _outcome(
        self,
        rows: Mapping[str, Row],
        columns: Mapping[str, Column],
        seeds: int,
        results: Results,
        options: Options,
    ) -> Outcome:
        found = Findings(
            {key: row.title for key, row in rows.items()},
            {key: column.title for key, column in columns.items()},
            results,
            {place: self.paper(*place) for place in results} if self.paper else {},
        )
        changed = self.quick.changes if options.quick else {}
        cells = [
            {**one.to_dict(), "paper_percent": found.paper.get(place, {})} for place, one in results.items()
        ]
        tables = [score_table(f"{title}, %", score, found) for score, title in self.scores.items()]
        return Outcome(
            title=self.title,
            text=f"{cleandoc(self.text)}\n\n{reading(seeds, found, changed)}",
            tables=[*tables, seconds_table(found)],
            data=portable({"seeds": seeds, "cells": cells}, options),
            notes=portable([*notes(found), *filter(None, [options.pool.told])], options),
            picture=self.picture(results) if self.picture else None,
            caption=self.caption,
            details=portable(details(found), options),
        )


def _located(value: Any, options: Options) -> Any:
    """A setting, with $CCE_DATA/ at its beginning for the data folder: what `portable` takes back."""
    if isinstance(value, str) and value.startswith("$CCE_DATA/"):
        return str(options.data / value.removeprefix("$CCE_DATA/"))
    return value


def portable(values: Any, options: Options) -> Any:
    """Plain values without this machine's paths: $CCE_DATA is the data folder, others are relative."""
    text = json.dumps(values, ensure_ascii=False).replace(str(options.data), "$CCE_DATA")
    return json.loads(text.replace(f"{Path.cwd()}/", ""))
