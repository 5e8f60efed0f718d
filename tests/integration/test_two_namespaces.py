"""A Ray cluster of two machines, as network namespaces: work on both, then the power cut of one."""

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from network_namespaces import Namespace, Unavailable, two_namespaces
from waiting import wait_until

DRIVER = Path(__file__).with_name("two_nodes_driver.py")
PORT = 6379  # A namespace has its ports for itself.

pytestmark = pytest.mark.ray


@dataclass
class Cluster:
    """A head and a worker node of Ray, of one CPU each, and the environment that a driver needs."""

    head: Namespace
    worker: Namespace
    folder: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"{self.head.address}:{PORT}"

    def start_node(self, space: Namespace, *arguments: str) -> None:
        """`ray start`; returns when it is up."""
        log = self.folder / f"{space.name}.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, "--block"]
        command += [f"--node-ip-address={space.address}", f"--temp-dir={self.folder / space.name}"]
        command += ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000"]
        with log.open("w") as output:
            node = self.start(space, command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()

    def start(self, space: Namespace, command: list[str], **pipes: Any) -> subprocess.Popen[str]:
        """A process in the namespace, which ends with it at the latest."""
        return subprocess.Popen([*space.prefix, *command], env=self.environment, text=True, **pipes)


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """Both nodes, up. Raises Unavailable where there are no network namespaces."""
    folder = Path(tempfile.mkdtemp(prefix="r2-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # see tests/conftest.py
    try:
        with two_namespaces() as (head, worker):
            cluster = Cluster(head, worker, folder, environment)
            cluster.start_node(head, "--head", f"--port={PORT}", "--include-dashboard=false")
            cluster.start_node(worker, f"--address={cluster.address}")
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with ray_cluster() as cluster:
            yield cluster
    except Unavailable as reason:
        pytest.skip(f"no network namespaces here: {reason}")


class Reports:
    """What a process says, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # Ray's own messages come in between.
                self._lines.put(line)
        self._lines.put("")

    def next(self) -> dict[str, Any]:
        """The next line, as JSON."""
        line = self._lines.get()
        assert line, f"the driver ended with {self.process.wait()}; see its errors"
        return dict(json.loads(line))


EPOCHS = 20
RUN = ["data=digits", "model=linear", f"optimizer.epochs={EPOCHS}", "optimizer.batch_size=300"]
RUN += ["runtime.threads=1", "runtime.checkpoint_seconds=0", "pseudo_labels.max_iterations=10"]


def train(cluster: Cluster, output: Path, *overrides: str) -> subprocess.Popen[str]:
    """`cce train` on two workers, from the head."""
    settings = [*RUN, *overrides, f"output_dir={output}"]
    command = [sys.executable, "-m", "cce_ray.cli", "train", "--workers", "2", "--address", cluster.address]
    command += [part for setting in settings for part in ("--set", setting)]
    return cluster.start(cluster.head, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def epochs_of(output: Path) -> list[int]:
    """The epochs whose loss MLflow holds, in order."""
    with sqlite3.connect(output / "mlflow.db") as base:
        assert [row[0] for row in base.execute("select status from runs")] == ["FINISHED"]
        rows = base.execute("select step from metrics where key = 'loss/total' order by step")
        return [row[0] for row in rows]


@pytest.mark.nightly
def test_a_run_over_two_machines_goes_on_with_one_when_the_other_loses_power(tmp_path: Path) -> None:
    try:
        with ray_cluster() as cluster:
            quick = tmp_path / "quick"
            with train(cluster, quick, "optimizer.epochs=2") as process:
                said, _ = process.communicate()
                assert process.returncode == 0, said
            output = tmp_path / "elastic"
            with train(cluster, output, "runtime.min_workers=1", "optimizer.learning_rate=0.002") as process:
                wait_until(lambda: list(output.glob("seed_0/ray/checkpoint_*")), process)
                cluster.worker.kill()
                said, _ = process.communicate()
                assert process.returncode == 0, said
            assert epochs_of(output) == list(range(1, EPOCHS + 1))
    except Unavailable as reason:
        pytest.skip(f"no network namespaces here: {reason}")


@pytest.mark.nightly
def test_two_machines_work_together_until_one_loses_power(cluster: Cluster) -> None:
    head, worker = cluster.head, cluster.worker
    with cluster.start(
        head, [sys.executable, str(DRIVER), cluster.address], stdout=subprocess.PIPE
    ) as driver:
        reports = Reports(driver)
        try:
            first = reports.next()
            assert first["tasks"] == {head.address: [head.address], worker.address: [worker.address]}
            assert reports.next() == {"sums": [[3.0, 3.0], [3.0, 3.0]]}
            assert "token is missing or incorrect" in reports.next()["stranger"]
            worker.kill()
            loss = reports.next()
            assert loss["lost"] in ("ActorUnavailableError", "ActorDiedError")
            assert (loss["left"], loss["then"]) == ([head.address], "ActorDiedError")
            assert driver.wait() == 0
        finally:
            driver.kill()
