"""Benchmarks and the paper's tables and figures: bench, experiment."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cce_ray.cli.options import JsonOption

if TYPE_CHECKING:
    from cce_ray.experiments import Table as TextTable


def bench_pseudo_labels(
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute: M = 250 and λ = 10 only.")] = False,
    json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write the data, a page and a picture there."),
    ] = None,
) -> None:
    """Time every pseudo-label solver to certified gaps, against the paper's EM and projected gradient."""
    from cce_ray.cli.console import RichListener
    from cce_ray.experiments import QUICK, Plan, notes, prepare_folder, run_benchmark, tables, write_report

    if output:
        prepare_folder(output)
    with RichListener() as listener:
        report = run_benchmark(QUICK if quick else Plan(), quick=quick, progress=listener.note)
        for path in write_report(report, output) if output else []:
            listener.note(f"-> {path}")
    if json:
        typer.echo(jsonlib.dumps(report))
    else:
        _show_tables(tables(report), notes(report))


def experiment(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Experiments; --list tells which there are.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="The experiments, and what each shows.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller, into files NAME-quick.*.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds of every run. Default: the experiment's.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Feature files and data sets. Default: CCE_DATA, or data."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where page, data and picture go.")
    ] = Path("docs/results"),
    work: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where runs are kept, for the same command to go on.")
    ] = Path("cce_output/experiments"),
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Train the runs at once on this Ray cluster; local: on this machine's cores. Default: "
            "RAY_ADDRESS, or one after the other here. What is timed or drawn is always done here.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Reproduce tables and figures of the paper; what is finished is kept, the same command goes on."""
    from cce_ray.experiments import EXPERIMENTS, find_experiment

    if show:
        width = max(map(len, EXPERIMENTS))
        for name, entry in EXPERIMENTS.items():
            typer.echo(f"{name:<{width}}  {entry.meaning}")
        return
    if not names:
        raise ValueError(f"experiment: no name given; choose from {', '.join(EXPERIMENTS)}")
    runs = {name: find_experiment(name) for name in names}  # all of them, before the first takes hours

    from cce_ray.cli.console import RichListener
    from cce_ray.distributed import pool_at
    from cce_ray.experiments import make_options, perform, prepare_folder

    options = make_options(data, work, quick=quick, seeds=seeds)
    reports = []
    with pool_at(address, options.data, options.work) as pool:
        prepare_folder(output)
        for name, run in runs.items():
            with RichListener() as listener:
                outcome, report = perform(name, run, replace(options, pool=pool), output, listener)
            reports.append(report)
            if not json:
                _show_tables(outcome.tables, outcome.notes)
    if json:
        typer.echo(jsonlib.dumps({"experiments": reports}))


def _show_tables(tables: Sequence[TextTable], notes: Sequence[str]) -> None:
    """Tables and what is to be said about them, never folded where nobody looks at a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    for table in tables:
        shown = Table(title=table.title, title_justify="left")
        for number, heading in enumerate(table.headings):
            shown.add_column(heading, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for note in notes:
        console.print(note, markup=False)
