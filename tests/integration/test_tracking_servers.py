"""A real PostgreSQL and a real MLflow server: a run straight into one, a killed search through the other."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from waiting import wait_until

from cce_ray.tuning.records import read_trials

pytestmark = [pytest.mark.nightly, pytest.mark.ray]

SPACE = {
    "run": "digits",
    "set": {"data.limit": 600, "model": "linear", "method.augmentation_weight": 0, "optimizer.epochs": 30,
            "optimizer.batch_size": 300, "tracking.register_model": "served"},
    "space": {"optimizer.learning_rate": {"low": 0.001, "high": 0.1, "log": True}},
    "trials": 5,
    "objective": "accuracy",
    "scheduler": {"grace_epochs": 10, "reduction_factor": 3},
    "final": {"top": 2, "seeds": 2},
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty database of a PostgreSQL server that was started for it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    # As root it refuses to start: it runs as the user its package made, in a folder of its own.
    someone = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(f"/tmp/cce_ray-postgres-{os.getpid()}")
    folder.mkdir()
    if someone:
        shutil.chown(folder, "postgres")
    data, port, binaries = folder / "data", free_port(), Path(initdb).parent
    quiet = {"stdout": subprocess.DEVNULL, "cwd": folder}
    setup = ["--auth=trust", "--username=cce", "--no-sync", "--encoding=UTF8", "--locale=C"]
    subprocess.run([*someone, initdb, *setup, "-D", str(data)], check=True, **quiet)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*someone, str(binaries / "pg_ctl"), "-w", "-D", str(data)]
    subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], check=True, **quiet)
    try:
        yield f"postgresql+psycopg2://cce@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server over that database."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", postgres, "--workers=1"]
    command += ["--artifacts-destination", str(folder), "--host=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(command, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address).close()
    except OSError:
        return False
    return True


def cce(*words: str, uri: str) -> subprocess.Popen[str]:
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-m", "cce_ray.cli", *words]
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )


def test_a_run_straight_into_postgresql(postgres: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    words = ["train", "digits", "--set", f"output_dir={tmp_path}", "--set", "optimizer.epochs=3"]
    run = cce(*words, uri=postgres)
    _, said = run.communicate()
    assert run.returncode == 0, said
    client = MlflowClient(postgres)
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(found.info.run_id, "loss/total")) == 3


def test_a_killed_search_through_a_server(server: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder = tmp_path / "out"
    (tmp_path / "served.yaml").write_text(yaml.safe_dump(SPACE))
    words = ["tune", str(tmp_path / "served.yaml"), "--set", f"output_dir={folder}"]
    killed = cce(*words, uri=server)
    try:
        wait_until(lambda: sum(record.done for record in read_trials(folder)) >= 2, killed)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    resumed = cce(*words, "--resume", uri=server)
    _, said = resumed.communicate()
    assert resumed.returncode == 0, said

    client = MlflowClient(server)
    (experiment,) = [one for one in client.search_experiments() if one.name == "cce_ray"]
    runs = client.search_runs([experiment.experiment_id], "tags.study = 'served'")
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED"}
    names = Counter(run.info.run_name for run in runs)
    assert max(names.values()) == 1
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_id for run in trials} == {record.run_id for record in read_trials(folder)}
    assert len(trials) == 5
    assert {"best.yaml", "leaderboard.csv", "leaderboard.html"} <= {
        file.path for file in client.list_artifacts(parent.info.run_id)
    }
    assert client.get_model_version_by_alias("served", "champion").version == "1"
