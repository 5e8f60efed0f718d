"""Runs at once on a Ray cluster: the numbers of this process, and what runs reserve."""

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cce_ray.config import RuntimeSettings
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


def refuse(listener: Listener) -> None:
    raise ValueError("output_dir: is held")


def die(file: Path, listener: Listener) -> int:
    """Lives the third time."""
    file.write_text(file.read_text() + "x" if file.exists() else "x")
    if len(file.read_text()) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


@pytest.mark.ray
def test_a_cluster_finds_what_one_process_finds(tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    with pool_at("local", data, work) as pool:
        there = GRID.run(Options(data, work, pool=pool), Listener())
        with pytest.raises(ValueError, match=r"^output_dir: is held$"):
            list(pool.results([Work(refuse, CPU)], Listener()))
        lost = Work(partial(die, tmp_path / "lives"), CPU)
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
