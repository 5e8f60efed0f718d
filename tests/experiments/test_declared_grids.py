"""Every cell of every declared table is a configuration that exists, or says why not."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from cce_ray.experiments import EXPERIMENTS
from cce_ray.experiments.experiment import Options
from cce_ray.experiments.grid import Grid
from cce_ray.runs import load_run

RUNS = {name: import_module(f"cce_ray.experiments.{name}").run for name in EXPERIMENTS}
GRIDS = {name: run.__self__ for name, run in RUNS.items() if isinstance(getattr(run, "__self__", None), Grid)}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", sorted(GRIDS))
def test_every_cell_can_be_configured(
    name: str, quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cce_ray.experiments.long_tail.imbalanced", lambda source, ratio, folder: folder / "x.npz"
    )
    options, grid, configured = Options(tmp_path, tmp_path, quick), GRIDS[name], 0
    for row in grid.rows:
        for column in grid.columns:
            cell = grid.cell_of(row, column, options)
            if isinstance(cell, str):
                assert len(cell) > 10
                continue
            changes = [f"{key}={json.dumps(value)}" for key, value in cell.changes.items()]
            config, _ = load_run(cell.run, changes)
            assert str(tmp_path) in json.dumps(config.to_dict()) or config.data.name == "digits"
            configured += 1
    assert configured or name == "table2"  # whose searches may be under way


def test_tables_are_grids() -> None:
    assert len(GRIDS) >= 9
