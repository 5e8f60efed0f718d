"""Whole searches on Ray: what is left at the end, after kills, and of trials with workers of their own."""

import csv
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters import started_cluster

from cce_ray.config import load_config
from cce_ray.runs import run_training
from cce_ray.tuning import Options, SearchSummary, load_search, run_search
from cce_ray.tuning.records import TrialRecord, read_trials

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIALS = 5
SPACE = {
    "run": "digits",
    "set": {
        "data.limit": 600,
        "model": "linear",
        "method.augmentation_weight": 0,
        "optimizer.epochs": 9,
        "optimizer.batch_size": 300,
        "tracking.register_model": "small",
    },
    "space": {
        "method.fairness_weight": {"low": 5.0, "high": 200.0, "log": True},
        "optimizer.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
        "pseudo_labels.max_iterations": {"low": 3, "high": 40},
    },
    "start": [
        {"method.fairness_weight": 50, "optimizer.learning_rate": 0.01, "pseudo_labels.max_iterations": 10}
    ],
    "trials": TRIALS,
    "objective": "accuracy",
    "scheduler": {"grace_epochs": 3, "reduction_factor": 3},
    "final": {"top": 2, "seeds": 2},
}


def written(folder: Path, **changes: Any) -> Path:
    """The file of the space."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SPACE | changes))
    return path


def search(
    space: Path,
    folder: Path,
    *overrides: str,
    address: str,
    resume: bool = False,
    extend: int = 0,
    **changes: Any,
) -> SearchSummary:
    found = load_search(str(space), [f"output_dir={folder}", *overrides], **changes)
    (summary,) = run_search([found], Options(address, resume, extend=extend))
    return summary


def runs(folder: Path) -> list[tuple[str, str, str | None]]:
    """(name, status, parent) of every run in the study's MLflow store that was not deleted."""
    with sqlite3.connect(folder / "mlflow.db") as base:
        parents = dict(base.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
        rows = base.execute("select run_uuid, name, status from runs where lifecycle_stage = 'active'")
        return [(name, status, parents.get(run)) for run, name, status in rows]


def assert_consistent(folder: Path, trials: int) -> None:
    """As many trials as were asked for, each with one tracked run that has ended."""
    records = read_trials(folder)
    assert sum(record.done for record in records) == trials
    assert [record.number for record in records] == list(range(trials))
    found = runs(folder)
    assert {status for _, status, _ in found} <= {"FINISHED", "FAILED"}
    (parent,) = [name for name, _, above in found if above is None]
    assert parent == "small"
    names = [name for name, _, _ in found if "seed" not in name]
    assert len(names) == len(set(names)) == trials + 1


KILLED = """
import os, signal
from cce_ray.tuning.recorder import Recorder

def close_and_die(self, record, close=Recorder._close):
    close(self, record)
    if sum(one.done for one in self.records.values()) >= 2:
        os.killpg(0, signal.SIGKILL)

Recorder._close = close_and_die
from cce_ray.cli import main; main()
"""


@dataclass(frozen=True)
class Resumed:
    """A search whose process was killed after two trials, and which another session has finished."""

    space: Path
    folder: Path
    done: list[TrialRecord]
    """The trials that were done when it was killed."""
    summary: SearchSummary


@pytest.fixture(scope="module")
def resumed(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    work = tmp_path_factory.mktemp("search")
    space, folder = written(work), work / "out"
    command = [sys.executable, "-c", KILLED, "tune", str(space), "--address", ray_cluster.address]
    killed = subprocess.run(
        [*command, "--set", f"output_dir={folder}"], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = [record for record in read_trials(folder) if record.done]
    return Resumed(space, folder, done, search(space, folder, address=ray_cluster.address, resume=True))


def test_a_killed_search_goes_on_with_what_it_knew(resumed: Resumed) -> None:
    assert 2 <= len(resumed.done) < TRIALS
    assert_consistent(resumed.folder, TRIALS)
    records = {record.number: record for record in read_trials(resumed.folder)}
    for record in resumed.done:  # what was done was not done again
        assert records[record.number] == replace(record, closed=True)


def test_a_search_ends_with_a_champion_that_its_run_file_repeats(
    resumed: Resumed, tmp_path: Path, ray_cluster: Any
) -> None:
    space, folder, summary, address = resumed.space, resumed.folder, resumed.summary, ray_cluster.address
    with (folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, TRIALS + 1))
    assert int(rows[0]["trial"]) == summary.champion
    assert summary.seeds == 2
    assert "small" in (folder / "leaderboard.html").read_text()
    with sqlite3.connect(folder / "mlflow.db") as base:
        (alias,) = base.execute("select name, alias, version from registered_model_aliases").fetchall()
    assert alias[:2] == ("small", "champion")
    # The run file gives the same numbers again, in another process of another kind.
    config, _ = load_config(
        folder / "best.yaml", [f"output_dir={tmp_path / 'again'}", "tracking.enabled=false"]
    )
    again = run_training(config, seeds=2)
    assert again.scores["accuracy"] == pytest.approx(summary.final["accuracy"], abs=1e-12)
    # Resuming it does nothing, extending it does what was asked.
    search(space, folder, address=address, resume=True)
    assert_consistent(folder, TRIALS)
    search(space, folder, address=address, resume=True, extend=1)
    assert_consistent(folder, TRIALS + 1)
    with pytest.raises(ValueError, match=r"optimizer\.epochs: 5, but the search in .* has 9"):
        search(space, folder, "optimizer.epochs=5", address=address, resume=True)


def assert_nested_search_ends(folder: Path, address: str) -> None:
    """Two trials of two workers each on two CPUs, one after the other, then a run with another seed: killing
    the second would leave the placement group of its workers behind, and the last run would wait for ever."""
    better, worse = 0.02, 0.001
    space = written(
        folder,
        space={"optimizer.learning_rate": {"low": worse, "high": better}},
        start=[{"optimizer.learning_rate": rate} for rate in (better, worse)],
        final={"top": 1, "seeds": 1},
    )
    settings = ["runtime.workers=2", "optimizer.epochs=7"]
    summary = search(space, folder / "out", *settings, address=address, trials=2)
    assert_consistent(folder / "out", 2)
    assert read_trials(folder / "out")[1].state in ("stopped", "collapsed")
    assert summary.trials["finished"] == 1 and summary.seeds == 1


def test_trials_with_workers_of_their_own_are_stopped_without_leftovers(
    tmp_path: Path, ray_cluster: Any
) -> None:
    assert_nested_search_ends(tmp_path, ray_cluster.address)


@pytest.mark.nightly
def test_the_same_with_the_dashboard_on(tmp_path: Path) -> None:
    with started_cluster(include_dashboard=True) as cluster:
        assert_nested_search_ends(tmp_path, cluster.address)
