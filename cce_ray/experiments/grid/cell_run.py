"""A cell's run, in a folder of its own: never done twice, never mixed with another."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from cce_ray.config import RunConfig, flatten
from cce_ray.distributed import Work
from cce_ray.experiments.grid.cell import Cell, CellResult, Measure
from cce_ray.files import read_record
from cce_ray.runs import (
    CONFIG_FILE,
    RESULT_FILE,
    SUMMARY_FILE,
    Listener,
    RunSummary,
    SeedResult,
    load_run,
    matching,
    numbered,
    occupied,
    run_training,
)

PACKAGE = Path(__file__).parents[2]


def place_of(config: RunConfig, base: Path) -> Path:
    """The folder of this run: `base`, or base-2, ... where other runs lie. None of these is touched."""
    return next(folder for folder in numbered(base) if not occupied(folder) or holds(folder, config))


def holds(folder: Path, config: RunConfig) -> bool:
    """Whether the run in `folder` is this one, in a state that can be read."""
    try:
        matching(config, folder)
        read_record(folder / SUMMARY_FILE, RunSummary)
        for file in folder.glob(f"seed_*/{RESULT_FILE}"):
            read_record(file, SeedResult)
    except ValueError:
        return False
    return True


def _train_cell(
    config: RunConfig, base: Path, seeds: int, threads: int, listener: Listener
) -> tuple[Path, RunSummary]:
    """The run's folder and summary: what is finished is read, what was interrupted goes on.

    The number of seeds stands in the folder's name, so that runs of other numbers lie elsewhere. `threads`
    are those of a run that does not say and has not begun.
    """
    folder = place_of(config, base.with_name(f"{base.name}-{seeds}-seed{'s' if seeds > 1 else ''}"))
    done = read_record(folder / SUMMARY_FILE, RunSummary)
    if done is None:
        begun = (folder / CONFIG_FILE).exists()
        changes: dict[str, Any] = {"output_dir": str(folder)}
        if not begun and not config.runtime.threads:
            changes["runtime.threads"] = threads
        config = config.with_(changes)
        done = run_training(config, seeds=seeds, resume=begun, listener=listener)
    return folder, done


def planned_cell(
    row: str,
    column: str,
    cell: Cell,
    base: Path,
    seeds: int,
    threads: int,
    measure: Measure | None = None,
) -> Work[CellResult] | CellResult:
    """What there is to do for a cell; where its configuration is refused, a result with the reason."""
    changes = {**cell.changes, "name": base.name, "tracking.enabled": False}
    try:
        config, _ = load_run(cell.run, changes)
    except ValueError as error:
        return CellResult(row, column, "not run", str(error))
    do = partial(_run_cell, row, column, cell, config, base.absolute(), seeds, threads, measure)
    return Work(do, config.runtime)


def _run_cell(
    row: str,
    column: str,
    cell: Cell,
    config: RunConfig,
    base: Path,
    seeds: int,
    threads: int,
    measure: Measure | None,
    listener: Listener,
) -> CellResult:
    """Run a cell, or find it done. What the run refuses becomes the reason."""
    try:
        folder, summary = _train_cell(config, base, seeds, threads, listener)
    except ValueError as error:
        if str(error).startswith("output_dir"):  # the folder's fault, not the method's
            raise
        return CellResult(row, column, "not run", str(error))
    scores = {name: list(values) for name, values in summary.scores_per_seed.items()}
    places = sorted(folder.glob("seed_*"), key=lambda place: int(place.name.removeprefix("seed_")))
    for place in places if measure else ():
        for name, value in measure(config, place).items():  # type: ignore[misc]
            scores.setdefault(name, []).append(value)
    return CellResult(
        row,
        column,
        "done",
        per_seed=scores,
        summary=summary,
        warnings=tuple(_warnings_of(places)),
        command=_command_of(cell, seeds),
        config={key: value for key, value in flatten(config.to_dict()).items() if key != "output_dir"},
    )


def _warnings_of(places: list[Path]) -> list[str]:
    """What the seeds in these folders were warned of."""
    results = [read_record(place / RESULT_FILE, SeedResult) for place in places]
    return [f"seed {result.seed}: {result.warning}" for result in results if result and result.warning]


def _command_of(cell: Cell, seeds: int) -> str:
    """The `cce train` that repeats a cell."""
    file = Path(cell.run)
    run = str(file.relative_to(PACKAGE.parent)) if file.is_relative_to(PACKAGE.parent) else cell.run
    parts = ["cce", "train", run]
    for key, value in cell.changes.items():
        text = value if isinstance(value, str) else json.dumps(value)
        parts += ["--set", f"{key}={text}"]
    return shlex.join([*parts, "--seeds", str(seeds)])
