"""The whole contract of an experiment, and what `cce experiment` makes of it: a page, its data, a picture.

An experiment is a module with `run(options, listener) -> Outcome`. It measures, or for a grid of runs
(`grid.py`) declares what is to be measured; everything else is done here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import cleandoc
from pathlib import Path
from typing import Any, final

from cce_ray.distributed import InTurn, Pool
from cce_ray.experiments.provenance import commit_text, facts, hardware_text, versions_text
from cce_ray.experiments.table import Table, markdown
from cce_ray.files import replacing, write_text
from cce_ray.runs import Listener


@final
@dataclass(frozen=True)
class Options:
    """How an experiment is to be run."""

    data: Path
    """Where feature files and data sets lie."""
    work: Path
    """Where runs are kept, so that a repeated command goes on; an experiment uses `work / its name`."""
    quick: bool = False
    """Smaller: to see that it works."""
    seeds: int | None = None
    """None: as many as the experiment wants."""
    pool: Pool = field(default_factory=InTurn)
    """Trains the runs. What is timed or drawn is done in this process, whatever the pool."""


def make_options(data: Path | None, work: Path, *, quick: bool = False, seeds: int | None = None) -> Options:
    """Options with absolute folders. ValueError for a data folder that is not there, a work folder that
    cannot be, and below one seed."""
    from cce_ray.data import data_root

    if seeds is not None and seeds < 1:
        raise ValueError(f"--seeds {seeds}: at least one seed is needed; give 1 or more")
    if data is not None and not data.expanduser().is_dir():
        raise ValueError(f"--data {data}: no such folder; give the folder of feature files and data sets")
    place, kept = (data or data_root()).expanduser().absolute(), work.expanduser().absolute()
    nearest = next(folder for folder in (kept, *kept.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"--work {work}: runs cannot be kept there; choose another folder")
    return Options(place, kept, quick, seeds)


@final
@dataclass(frozen=True)
class Outcome:
    """What an experiment found."""

    title: str
    text: str
    """Markdown above the tables: what is shown, and where it departs from the paper; may be indented."""
    tables: Sequence[Table]
    data: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, for JSON."""
    notes: Sequence[str] = ()
    """Below the tables: what was not run and why, and what went wrong."""
    picture: bytes | None = None
    """PNG."""
    caption: str = ""
    """Of the picture."""
    details: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """{heading: lines}: configurations and the like, folded."""


Run = Callable[[Options, Listener], Outcome]


def perform(
    name: str, run: Run, options: Options, output: Path, listener: Listener
) -> tuple[Outcome, dict[str, Any]]:
    """Run an experiment and write NAME.png, .json and .md (`NAME-quick` if quick) into `output`.

    Returns the outcome and the content of the JSON file.
    """
    started, found = time.perf_counter(), facts()
    own = replace(options, work=options.work / (f"{name}-quick" if options.quick else name))
    outcome = run(own, listener)
    report = {
        "experiment": name,
        "title": outcome.title,
        "quick": options.quick,
        "facts": found,
        "seconds": time.perf_counter() - started,
        "notes": list(outcome.notes),
        **outcome.data,
    }
    for path in write(name, outcome, report, options, output):
        listener.note(f"-> {path}")
    return outcome, report


def write(
    name: str, outcome: Outcome, report: Mapping[str, Any], options: Options, output: Path
) -> list[Path]:
    """The files, each whole or not at all; a quick run does not replace what a full one found."""
    stem = f"{name}-quick" if options.quick else name
    picture, data, text = (output / f"{stem}.{suffix}" for suffix in ("png", "json", "md"))
    paths = [data, text]
    if outcome.picture:
        with replacing(picture) as temporary:
            temporary.write_bytes(outcome.picture)
        paths.append(picture)
    write_text(data, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(text, page(name, outcome, report, options, picture.name))
    return paths


def page(name: str, outcome: Outcome, report: Mapping[str, Any], options: Options, picture: str) -> str:
    """The Markdown: what is shown, the picture, the tables, what is missing; beneath, what ran where."""
    found = report["facts"]
    command = f"cce experiment {name}{' --quick' if options.quick else ''}"
    command += f" --seeds {options.seeds}" if options.seeds else ""
    parts = [f"# {outcome.title}", cleandoc(outcome.text)]
    if outcome.picture:
        parts.append(f"![{outcome.caption or outcome.title}]({picture})")
    parts += [markdown(table) for table in outcome.tables]
    if outcome.notes:
        parts.append("\n".join(f"- {note}" for note in outcome.notes))
    parts += [
        "## How it was measured",
        f"Rendered by `{command}` at commit {commit_text(found['commit'])}, {found['date']}, in "
        f"{_seconds_text(report['seconds'])}. Hardware: {hardware_text(found)}. {versions_text(found)}.",
    ]
    for heading, lines in outcome.details.items():
        parts += [f"<details><summary>{heading}</summary>", "\n".join(lines), "</details>"]
    return "\n\n".join(parts) + "\n"


def _seconds_text(seconds: float) -> str:
    """0.12 s, 3.4 s, 1250 s."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def prepare_folder(folder: Path) -> None:
    """Make the output folder before anything is measured; ValueError if files cannot be put there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13))
    except OSError as error:
        raise ValueError(
            f"--output {folder}: cannot be written ({error.strerror}); choose another folder"
        ) from None
