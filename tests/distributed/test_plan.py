"""What a run reserves, and what a cluster can never give."""

from pathlib import Path

import numpy as np
import pytest

from cce_ray.config import RunConfig, load_config
from cce_ray.data import load_dataset
from cce_ray.distributed.plan import (
    Nodes,
    check_plan,
    fair_threads,
    may_be_beside,
    must_be_beside,
    worker_resources,
)
from cce_ray.distributed.ray_train import paths_read

TWO_NODES = Nodes([{"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}])


def config(*overrides: str) -> RunConfig:
    return load_config(None, ["data=digits", *overrides])[0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["runtime.workers=9", "runtime.threads=1"], ["runtime.workers: 9", "8 CPUs and 1 GPUs on 2 nodes"]),
        (["runtime.workers=2", "runtime.threads=5"], ["runtime.workers: 2", "enough for 0", "fewer threads"]),
        (
            ["runtime.workers=3", "runtime.gpus_per_worker=0.5", "runtime.threads=1"],
            ["runtime.gpus_per_worker: 3", "1 CPU and 0.5 GPU", "enough for 2"],
        ),
        (
            ["runtime.workers=8", "runtime.threads=1", "pseudo_labels.backend=ray"],
            ["runtime.workers: 8", "one of them for pseudo_labels.backend=ray", "enough for 4"],
        ),
    ],
)
def test_what_can_never_fit_is_one_line_with_what_there_is(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^runtime\.") as caught:
        check_plan(config(*overrides), TWO_NODES)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_fits_passes_also_where_the_cluster_only_may_grow_so_far() -> None:
    check_plan(config("runtime.workers=8", "runtime.threads=1"), TWO_NODES)
    check_plan(config("runtime.workers=9", "runtime.min_workers=8", "runtime.threads=1"), TWO_NODES)
    growing = Nodes([{"CPU": 1.0}], growing={"CPU": 64.0, "GPU": 8.0})
    check_plan(config("runtime.workers=8", "runtime.gpus_per_worker=1", "runtime.threads=8"), growing)
    with pytest.raises(ValueError, match="64 CPUs and 8 GPUs at its largest"):
        check_plan(config("runtime.workers=65", "runtime.threads=1"), growing)


@pytest.mark.parametrize(
    ("overrides", "threads"),
    [
        (["runtime.workers=2"], 4),
        (["runtime.workers=3"], 2),
        (["runtime.workers=8"], 1),
        (["runtime.workers=2", "pseudo_labels.backend=ray"], 3),
    ],
)
def test_threads_leave_every_worker_its_own_cpus(overrides: list[str], threads: int) -> None:
    assert fair_threads(config(*overrides), TWO_NODES) == threads


def test_em_beside_the_training_is_planned_with_a_cpu_of_its_own_or_not_at_all() -> None:
    wanted = ["runtime.workers=2", "runtime.threads=3", "method.augmentation_weight=1"]
    large = [*wanted, "optimizer.batch_size=4096", "pseudo_labels.max_iterations=20"]
    assert must_be_beside(config(*wanted, "pseudo_labels.backend=ray"))
    assert not must_be_beside(config(*wanted, "pseudo_labels.backend=ray", "pseudo_labels.scope=dataset"))
    assert may_be_beside(config(*large), TWO_NODES, num_clusters=1000)
    assert not may_be_beside(config(*wanted), TWO_NODES, num_clusters=10)  # too little work
    assert not may_be_beside(config(*large, "runtime.threads=4"), TWO_NODES, 1000)  # no CPU to spare
    assert not may_be_beside(config(*large, "method.augmentation_weight=0"), TWO_NODES, 1000)
    assert not may_be_beside(config(*large, "method=sela"), TWO_NODES, 1000)  # it is no EM
    assert worker_resources(config(*large), beside=True) == {"CPU": 4.0}


def test_every_file_that_workers_read_is_asked_for_on_every_node(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((40, 3), np.float32))
    (tmp_path / "known.csv").write_text("id,label\n")
    read = ["data=arrays", f"data.path={tmp_path / 'rows.npy'}", "data.num_clusters=2", "model=mlp"]
    read += [f"supervision.labels_path={tmp_path / 'known.csv'}", f"model.weights={tmp_path / 'm.pt'}"]
    read += ["method=scan", f"method.embedding={tmp_path / 'e.npy'}"]
    wanted = config(*read)
    always = {"known.csv": "supervision.labels_path", "m.pt": "model.weights", "e.npy": "method.embedding"}
    expected = {str(tmp_path / name): key for name, key in always.items()}
    assert paths_read(wanted, load_dataset(wanted.data)) == expected, "data in memory travel"
    streamed = config(*read, "data.memory_limit_gib=0")
    expected[str(tmp_path / "rows.npy")] = "data.path"
    assert paths_read(streamed, load_dataset(streamed.data)) == expected
