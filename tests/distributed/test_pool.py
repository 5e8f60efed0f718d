"""Runs at once on a Ray cluster: the numbers of this process, and what runs reserve."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cce_ray.config import RuntimeSettings
from cce_ray.distributed.cluster import connected
from cce_ray.distributed.plan import Nodes
from cce_ray.distributed.pool import InTurn, OnRay, Work, pool_at
from cce_ray.experiments.experiment import Options
from cce_ray.experiments.grid.cell import Cell
from cce_ray.experiments.grid.grid import Column, Grid, Row
from cce_ray.runs import Listener

GRID = Grid(
    title="A grid",
    text="What it shows.",
    rows={name: Row(name, {"method": name}) for name in ("cce_plus", "shannon", "kmeans")},
    columns={"digits": Column("Digits", lambda options: {"data.limit": 300})},
    cell=lambda row, column: Cell(
        "digits",
        {"model": "linear", "optimizer.epochs": 1, "optimizer.batch_size": 100} if row != "kmeans" else {},
    ),
    seeds=2,
)
CPU, GPU = RuntimeSettings(device="cpu"), RuntimeSettings(device="auto")
ALL_CPUS = RuntimeSettings(device="cpu", threads=2)


def refuse(listener: Listener) -> None:
    raise ValueError("output_dir: is held")


def answer(listener: Listener) -> int:
    return 7


def die(file: Path, deaths: int, listener: Listener) -> int:
    """Ends its process so many times."""
    with file.open("a") as lives:
        lives.write("x")
    if file.stat().st_size <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(listener)


def linger(folder: Path, listener: Listener) -> None:
    """Leaves `late` behind unless it is cancelled in time."""
    (folder / "begun").touch()
    time.sleep(600)
    (folder / "late").touch()


def after_linger(folder: Path, then: Any, listener: Listener) -> Any:
    """Does something else once `linger` runs."""
    while not (folder / "begun").exists():
        time.sleep(0.01)
    return then(listener)


@pytest.mark.ray
def test_a_cluster_finds_what_one_process_finds(tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    with pool_at("local", data, work) as pool:
        there = GRID.run(Options(data, work, pool=pool), Listener())
        with pytest.raises(ValueError, match=r"^output_dir: is held$"):
            list(pool.results([Work(refuse, CPU)], Listener()))
        lost = Work(partial(die, tmp_path / "lives", 2), CPU)
        assert list(pool.results([lost], Listener())) == [(0, 7)]
        again = GRID.run(Options(data, work, pool=pool), Listener())
    assert there == again, "the runs are found done"
    one_thread = replace(
        GRID, columns={"digits": Column("Digits", lambda options: {"data.limit": 300, "runtime.threads": 1})}
    )
    here = one_thread.run(Options(data, tmp_path / "here"), Listener())
    for near, far in zip(here.data["cells"], there.data["cells"], strict=True):
        assert near["per_seed"] == far["per_seed"] and far["threads"] == 1
    assert here.tables[0] == there.tables[0]
    assert "tasks of a Ray cluster" in there.notes[-1] and "Ray" not in here.notes[-1]


@pytest.fixture
def pool(ray_cluster: Any) -> Iterator[OnRay]:
    """On two CPUs, one for a run."""
    with connected(ray_cluster.address) as nodes:
        yield OnRay(nodes)


def start_beside_others(pool: OnRay, folder: Path, then: Any) -> Iterator[tuple[int, int]]:
    """The results of three runs: the first does something once the second runs and the third waits."""
    others = [Work(partial(linger, folder), CPU)] * 2
    return pool.results([Work(partial(after_linger, folder, then), CPU), *others], Listener())


def assert_others_are_cancelled(pool: OnRay, folder: Path) -> None:
    """A run gets all CPUs, and has not waited until the others were done."""
    assert list(pool.results([Work(answer, ALL_CPUS)], Listener())) == [(0, 7)]
    assert not (folder / "late").exists()


@pytest.mark.ray
def test_a_run_that_fails_cancels_the_others(pool: OnRay, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^output_dir: is held$"):
        list(start_beside_others(pool, tmp_path, refuse))
    assert_others_are_cancelled(pool, tmp_path)


@pytest.mark.ray
def test_leaving_the_loop_over_results_cancels_the_other_runs(pool: OnRay, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        for result in start_beside_others(pool, tmp_path, answer):
            assert result == (0, 7)
            raise KeyboardInterrupt
    assert_others_are_cancelled(pool, tmp_path)


@pytest.mark.ray
def test_a_run_that_is_lost_again_and_again_is_one_line(pool: OnRay, tmp_path: Path) -> None:
    message = r"^--address: a run was lost with its process 4 times \(.+\); see that .+: it goes on$"
    with pytest.raises(ValueError, match=message):
        list(pool.results([Work(partial(die, tmp_path / "lives", 100), CPU)], Listener()))
    assert (tmp_path / "lives").read_text() == "xxxx"


def test_results_are_in_turn_and_errors_are_raised_here() -> None:
    works = [Work(partial(lambda number, listener: number, number), CPU) for number in range(3)]
    assert list(InTurn().results(works, Listener())) == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(ValueError, match=r"^output_dir: is held$"):
        list(InTurn().results([Work(refuse, CPU)], Listener()))


def test_a_run_reserves_a_gpu_where_there_are_any_and_its_share_of_cpus() -> None:
    assert OnRay(Nodes([{"CPU": 8.0}])).reserved(GPU) == {"CPU": 1}
    mixed = OnRay(Nodes([{"CPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}]))
    assert mixed.reserved(GPU) == {"CPU": 8, "GPU": 1} and mixed.reserved(CPU) == {"CPU": 8}
    assert mixed.reserved(RuntimeSettings(threads=3)) == {"CPU": 3, "GPU": 1}
    with pytest.raises(
        ValueError, match=r"^--address: a run needs 9 CPU, and no node has that \(the cluster"
    ):
        OnRay(Nodes([{"CPU": 8.0}])).reserved(RuntimeSettings(threads=9))
