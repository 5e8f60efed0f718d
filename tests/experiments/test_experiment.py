"""What `cce experiment` promises: names, files, what is written beneath, one line for bad input."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import cce_here

from cce_ray.config import flatten
from cce_ray.experiments import EXPERIMENTS, find_experiment
from cce_ray.experiments.experiment import Options, Outcome, make_options, perform, prepare_folder
from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.grid import Grid
from cce_ray.experiments.table import Table
from cce_ray.runs import Listener, load_run

OWNERS = {name: getattr(find_experiment(name), "__self__", None) for name in EXPERIMENTS}
GRIDS = {name: owner for name, owner in OWNERS.items() if isinstance(owner, Grid)}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_the_file_of_its_name(name: str) -> None:
    run = find_experiment(name)
    assert list(inspect.signature(run).parameters) == ["options", "listener"]
    assert EXPERIMENTS[name].meaning.endswith(".")


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("quick", [False, True])
def test_every_cell_of_every_grid_is_a_run_or_has_a_reason(name: str, quick: bool, tmp_path: Path) -> None:
    grid = GRIDS[name]
    options = Options(tmp_path, tmp_path, quick)
    for row in grid.rows:
        for column in grid.columns:
            cell = grid.cell_of(row, column, options)
            if isinstance(cell, Cell):
                config, _ = load_run(cell.run, cell.changes)
                wanted = {key: value for key, value in cell.changes.items() if "." in key}
                assert flatten(config.to_dict()) | wanted == flatten(config.to_dict())
            else:
                assert cell
    for part, chosen in ((grid.rows, grid.quick.rows), (grid.columns, grid.quick.columns)):
        assert set(chosen or ()) <= set(part)


def test_reading_the_registry_loads_nothing_heavy() -> None:
    probe = (
        "import sys, cce_ray.experiments\nprint([n for n in ('torch', 'numba', 'ray') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_hold_what_was_found_and_where(tmp_path: Path) -> None:
    def run(options: Options, listener: Listener) -> Outcome:
        assert options.work.name == "sample"
        return Outcome(
            "A title",
            "What it shows.",
            [Table("Numbers", ["a", "b"], [["x", "1"]])],
            data={"numbers": [1]},
            notes=["nothing was skipped"],
            picture=b"\x89PNG",
            caption="a picture",
            details={"settings": ["a=1"]},
        )

    _, report = perform("sample", run, Options(tmp_path, tmp_path / "work"), tmp_path, Listener())
    page = (tmp_path / "sample.md").read_text()
    facts = report["facts"]
    assert page.startswith(
        "# A title\n\nWhat it shows.\n\n![a picture](sample.png)\n\n## Numbers\n\n| a | b |"
    )
    for part in (facts["date"], facts["device"], facts["torch"], "`cce experiment sample`", "<details>"):
        assert part in page
    assert (facts["commit"] or "unknown").partition("-")[0] in page
    assert json.loads((tmp_path / "sample.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "sample.png").read_bytes() == b"\x89PNG"
    quick = Options(tmp_path, tmp_path / "work", quick=True)
    perform("sample", lambda *_: Outcome("Q", "", []), quick, tmp_path, Listener())
    assert (tmp_path / "sample.md").read_text() == page
    assert "--quick" in (tmp_path / "sample-quick.md").read_text()
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tabel6"], "experiment tabel6: no such experiment; did you mean table6?"),
        (["figure1", "unheard"], "experiment unheard: no such experiment; Known:"),
        ([], "experiment: no name given; choose from figure1"),
        (["table6", "--seeds", "0"], "--seeds 0: at least one seed is needed; give 1 or more"),
        (["table6", "--data", "nowhere"], "--data nowhere: no such folder; give"),
        (
            ["table6", "--work", "taken/below"],
            "--work taken/below: runs cannot be kept there; choose another",
        ),
        (["figure1", "-o", "taken"], "--output taken: cannot be written (File exists); choose another"),
        (["figure1", "-o", "taken/below"], "--output taken/below: cannot be written (Not a directory)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_before_anything_is_run(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    done = cce_here("experiment", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {told}") and done.stderr.count("\n") == 1
    assert not done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"cannot be written \(Permission denied\); choose another folder"):
        prepare_folder(tmp_path)


def test_the_data_folder_is_the_environments_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCE_DATA", str(tmp_path))
    assert make_options(None, tmp_path).data == tmp_path
    (tmp_path / "mine").mkdir()
    assert make_options(tmp_path / "mine", tmp_path).data == tmp_path / "mine"


def test_the_command_lists_and_runs(tmp_path: Path) -> None:
    listed = cce_here("experiment", "--list", cwd=tmp_path)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(EXPERIMENTS)
    command = ["experiment", "figure1", "figure3", "--json", "-o", "out"]
    done = cce_here(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    reports = json.loads(done.stdout)["experiments"]
    assert [report["experiment"] for report in reports] == ["figure1", "figure3"]
    names = {f"{name}.{suffix}" for name in ("figure1", "figure3") for suffix in ("md", "json", "png")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
