"""Whole runs on Ray's workers: the results of a run in one process, faults survived, mistakes told."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clusters import add_node
from faults import worker_pids
from waiting import wait_until

import cce_ray
from cce_ray.distributed import ray_train as training
from cce_ray.runs import RunSummary, load_run, run_training

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 3
COMMON = [
    "data=digits",
    "data.limit=617",
    "optimizer.batch_size=206",
    f"optimizer.epochs={EPOCHS}",
    "optimizer.learning_rate=0.01",
    "method.augmentation_weight=1",
    "method.fairness_weight=20",
    "pseudo_labels.max_iterations=10",
    "runtime.threads=1",
    "runtime.checkpoint_seconds=0",
]
LINEAR = ["model=linear"]
TWO = ["runtime.workers=2"]
FEW_CHECKPOINTS = ["runtime.checkpoint_seconds=3600"]
"""Each waits for the next look of Ray Train's controller."""
Loop = Callable[[dict[str, Any]], dict[str, str]]


@pytest.fixture(scope="module")
def cluster(ray_cluster: Any) -> Iterator[Any]:
    """Two nodes of two CPUs, on this machine."""
    node = add_node(ray_cluster, num_cpus=2)
    yield ray_cluster
    ray_cluster.remove_node(node)


def train(cluster: Any, folder: Path, *overrides: str, resume: bool = False) -> RunSummary:
    from cce_ray.distributed import run_on_ray

    config, _ = load_run(None, [*COMMON, *overrides, f"output_dir={folder}"])
    return run_on_ray(config, address=cluster.address, resume=resume)


def counted(loop: Loop, starts: Path) -> Loop:
    """The loop of a worker, which first adds a letter to the file."""

    def note_and_loop(order: dict[str, Any]) -> dict[str, str]:
        with starts.open("a") as file:
            file.write("x")
        return loop(order)

    return note_and_loop


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "model.pt", weights_only=True)["state"]
    return found


def assert_same_bits(one: Path, other: Path) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


def assert_tracked_once(folder: Path) -> None:
    """MLflow holds one finished run with every epoch once."""
    with sqlite3.connect(folder / "mlflow.db") as base:
        assert [row[0] for row in base.execute("select status from runs")] == ["FINISHED"]
        logged = base.execute("select step from metrics where key = 'loss/total'")
        assert Counter(row[0] for row in logged) == Counter(range(1, EPOCHS + 1))


def losses(folder: Path) -> list[float]:
    with sqlite3.connect(folder / "mlflow.db") as base:
        rows = base.execute("select value from metrics where key = 'loss/total' order by step")
        return [row[0] for row in rows]


@pytest.fixture(scope="module")
def undisturbed(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a linear model on two workers."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(cluster, folder, *LINEAR, *TWO)
    return folder


def test_two_workers_do_what_one_process_does(undisturbed: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    config, _ = load_run(None, [*COMMON, *LINEAR, f"output_dir={alone}"])
    summary = run_training(config)
    assert losses(undisturbed) == pytest.approx(losses(alone), rel=1e-5)
    assert_tracked_once(undisturbed)
    names = {path.name for path in alone.iterdir()}
    assert {path.name for path in undisturbed.iterdir()} == names
    assert not (undisturbed / "seed_0" / "ray").exists()  # the checkpoints are gone
    assert summary.clusters_used > 1


def test_a_killed_worker_is_replaced_and_nothing_changes(
    cluster: Any, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, starts = tmp_path / "killed", tmp_path / "starts"

    def die_in_the_middle(order: dict[str, Any]) -> dict[str, str]:
        # It travels by value, without what this file imports.
        import os
        import signal
        from collections.abc import Mapping
        from typing import Any

        from cce_ray.distributed import worker

        class Context(worker.RayContext):
            checkpoints = 0

            def checkpoint(self, state: Mapping[str, Any]) -> None:
                super().checkpoint(state)
                self.checkpoints += 1
                if self.ranks.rank == 1 and self.checkpoints == 5 and len(starts.read_text()) == 2:
                    os.kill(os.getpid(), signal.SIGKILL)

        worker.RayContext = Context
        return worker.train_loop(order)

    monkeypatch.setattr(training, "train_loop", counted(die_in_the_middle, starts))
    train(cluster, folder, *LINEAR, *TWO)
    assert len(starts.read_text()) == 4  # two workers, and two more
    assert_same_bits(undisturbed, folder)
    assert_tracked_once(folder)


@pytest.mark.nightly  # and at random moments in tests/integration/faults.py
def test_a_killed_driver_goes_on_where_it_was(cluster: Any, undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "driver"
    settings = [part for text in [*COMMON, *LINEAR, f"output_dir={folder}"] for part in ("--set", text)]
    command = [sys.executable, "-m", "cce_ray.cli", "train", "--workers", "2"]
    process = subprocess.Popen([*command, "--address", cluster.address, *settings], stderr=subprocess.PIPE)
    wait_until(lambda: list((folder / "seed_0" / "ray").glob("checkpoint_*")), process)
    process.kill()
    process.communicate()
    wait_until(lambda: not worker_pids())
    other = ["runtime.workers=2", "optimizer.learning_rate=0.02"]
    with pytest.raises(ValueError, match=r"^optimizer\.learning_rate: 0\.02, but the run in .* has 0\.01"):
        train(cluster, folder, *LINEAR, *other, resume=True)
    train(cluster, folder, *LINEAR, *TWO, resume=True)
    assert_same_bits(undisturbed, folder)
    assert_tracked_once(folder)


def test_divergence_is_one_line_at_the_first_attempt_and_no_worker_is_left(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    monkeypatch.setattr(training, "train_loop", counted(training.train_loop, starts))
    wild = [*LINEAR, *TWO, *FEW_CHECKPOINTS, "optimizer.name=sgd", "optimizer.learning_rate=1e38"]
    with pytest.raises(ValueError, match=r"^optimizer\.learning_rate: training diverged[^\n]*$"):
        train(cluster, tmp_path / "wild", *wild)
    assert len(starts.read_text()) == 2  # a worker that waits for another would fail, and all begin again
    wait_until(lambda: not worker_pids())
    with sqlite3.connect(tmp_path / "wild" / "mlflow.db") as base:
        assert [row[0] for row in base.execute("select status from runs")] == ["FAILED"]


# Of the whole data set: nightly, for test_em.py holds the bits and this no more than that they are used.
@pytest.mark.parametrize("scope", ["batch", pytest.param("dataset", marks=pytest.mark.nightly)])
def test_em_in_remote_tasks_gives_the_bits_of_em_in_the_worker(
    cluster: Any, tmp_path: Path, scope: str
) -> None:
    from cce_ray.distributed import run_on_ray

    settings = [*COMMON, *LINEAR, *FEW_CHECKPOINTS, f"pseudo_labels.scope={scope}", "tracking.enabled=false"]
    alone, remote = tmp_path / "alone", tmp_path / "remote"
    run_training(load_run(None, [*settings, f"output_dir={alone}"])[0])
    settings += ["runtime.workers=1", "pseudo_labels.backend=ray", f"output_dir={remote}"]
    # Once on the cluster, once on a Ray that is started on this machine for the run.
    run_on_ray(load_run(None, settings)[0], address=cluster.address if scope == "batch" else None)
    assert_same_bits(alone, remote)


@pytest.mark.nightly  # test_storage.py holds the rules themselves
def test_a_shared_storage_tells_runs_apart(cluster: Any, undisturbed: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    folder = tmp_path / "digits"
    name = storage / "digits-seed_0"
    name.mkdir()
    (name / "config.yaml").write_text((undisturbed / "config.yaml").read_text())
    with pytest.raises(ValueError, match=r"already holds a run digits-seed_0; continue it with --resume"):
        train(cluster, folder, *LINEAR, *TWO, f"runtime.storage={storage}")
    assert not folder.exists()  # told before anything was written
    shutil.rmtree(name)
    train(cluster, folder, *LINEAR, *TWO, f"runtime.storage={storage}")
    assert_same_bits(undisturbed, folder)
    assert not name.exists()


@contextmanager
def node_with_other_files(cluster: Any, folders: dict[Path, Path]) -> Iterator[None]:
    """One more node, which sees other folders in the place of some: in a mount namespace."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    mounts = [f"mount --bind '{other}' '{place}'" for place, other in folders.items()]
    ray = f"'{sys.executable}' -m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block"
    script = " && ".join([*mounts, f"exec {ray} --disable-usage-stats"])
    command = ["unshare", "-m", "sh", "-c", script]
    nothing = subprocess.DEVNULL
    node = subprocess.Popen(command, stdout=nothing, stderr=nothing, start_new_session=True)
    try:
        wait_for_nodes(cluster.address, 3, node)
        yield
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait()


def wait_for_nodes(address: str, count: int, node: subprocess.Popen[bytes]) -> None:
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == count, node)
    ray.shutdown()


def test_a_node_with_other_code_or_without_the_data_is_named(cluster: Any, tmp_path: Path) -> None:
    package = Path(cce_ray.__file__).parent
    other, empty, data = tmp_path / "other", tmp_path / "empty", tmp_path / "data"
    shutil.copytree(package, other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "atomic.py").open("a") as file:
        file.write("# changed\n")
    empty.mkdir()
    data.mkdir()
    np.save(data / "rows.npy", np.random.default_rng(0).standard_normal((600, 8)))
    arrays = ["data=arrays", f"data.path={data / 'rows.npy'}", "data.num_clusters=4", "data.limit=null"]
    arrays += ["data.memory_limit_gib=0"]
    folder = tmp_path / "run"
    with node_with_other_files(cluster, {package: other}):
        with pytest.raises(ValueError, match=r"^runtime\.workers: \S+ runs cce_ray [^\n]*$"):
            train(cluster, folder, *LINEAR, *TWO)
        assert not folder.exists()
    with node_with_other_files(cluster, {data: empty}):
        with pytest.raises(
            ValueError, match=r"^data\.path: \S+ does not see [^\n]*rows\.npy; put it [^\n]*$"
        ):
            train(cluster, folder, *LINEAR, *TWO, *arrays)
        assert not folder.exists()
