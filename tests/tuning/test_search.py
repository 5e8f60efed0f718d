"""Whole searches on Ray: what is left at the end, after kills, and of trials with workers of their own."""

import csv
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from waiting import wait_until

from cce_ray.config import load_config
from cce_ray.runs import run_training
from cce_ray.tuning import Options, SearchSummary, load_search, run_search
from cce_ray.tuning.records import read_trials

pytestmark = [pytest.mark.ray, pytest.mark.slow]

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
    "trials": 6,
    "objective": "accuracy",
    "scheduler": {"grace_epochs": 3, "reduction_factor": 3},
    "final": {"top": 2, "seeds": 2},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray of two CPUs with its dashboard off."""
    with head(include_dashboard=False) as address:
        yield address


@contextmanager
def head(**options: Any) -> Iterator[str]:
    from ray.cluster_utils import Cluster

    Path("/tmp/ray").mkdir(exist_ok=True)
    folder = f"/tmp/cce_ray-test-{os.getpid()}"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "temp_dir": folder, **options})
    yield str(made.address)
    made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SPACE))
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


# First: it starts a Ray of its own, and two on one machine confuse each other.
def test_a_killed_search_goes_on_with_what_it_knew(space: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "cce_ray.cli", "tune", str(space), "--set", f"output_dir={folder}"]
    command += ["--set", "optimizer.epochs=30"]
    killed = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: sum(record.done for record in read_trials(folder)) >= 2, killed)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    done = {record.number: record for record in read_trials(folder) if record.done}
    assert 2 <= len(done) < 6
    answer = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert_consistent(folder, 6)
    for record in read_trials(folder):  # what was done was not done again
        if record.number in done:
            assert record == replace(done[record.number], closed=True)


def test_a_search_ends_with_a_champion_that_its_run_file_repeats(
    space: Path, tmp_path: Path, cluster: str
) -> None:
    folder = tmp_path / "out"
    summary = search(space, folder, address=cluster)
    assert_consistent(folder, 6)
    with (folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 7))
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
    search(space, folder, address=cluster, resume=True)
    assert_consistent(folder, 6)
    search(space, folder, address=cluster, resume=True, extend=2)
    assert_consistent(folder, 8)
    with pytest.raises(ValueError, match=r"optimizer\.epochs: 5, but the search in .* has 9"):
        search(space, folder, "optimizer.epochs=5", address=cluster, resume=True)


def assert_nested_search_ends(space: Path, folder: Path, address: str) -> None:
    """Three trials of two workers each on two CPUs: killing one would leave the placement group of its
    workers behind, and the next would wait for ever."""
    better, worse = 0.02, 0.001
    values = SPACE | {
        "space": {"optimizer.learning_rate": {"low": worse, "high": better}},
        "start": [{"optimizer.learning_rate": rate} for rate in (better, worse, better * 0.9)],
        "final": {"top": 1, "seeds": 1},
    }
    space.write_text(yaml.safe_dump(values))
    summary = search(space, folder, "runtime.workers=2", "optimizer.epochs=7", address=address, trials=3)
    assert_consistent(folder, 3)
    assert read_trials(folder)[1].state in ("stopped", "collapsed")
    assert summary.trials["finished"] >= 1


def test_trials_with_workers_of_their_own_are_stopped_without_leftovers(
    space: Path, tmp_path: Path, cluster: str
) -> None:
    assert_nested_search_ends(space, tmp_path / "out", cluster)


@pytest.mark.nightly
def test_the_same_with_the_dashboard_on(space: Path, tmp_path: Path) -> None:
    with head(include_dashboard=True) as address:
        assert_nested_search_ends(space, tmp_path / "out", address)
