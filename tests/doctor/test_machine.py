"""CPUs, memory, disks and switches: known ailments and what is said of each."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cce_ray.doctor import machine
from cce_ray.doctor.machine import bytecode, cpus, disk, memory, shared_memory, uv_run


def test_cpus_of_a_container_and_of_openmp(
    files: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cce_ray.pseudo_labels.available_cores", lambda: 8)
    files(cpu_max="max 100000")
    assert cpus().ok
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpus().remedy == "unset OMP_NUM_THREADS to use all"
    files(cpu_max="250000 100000")
    check = cpus()
    assert (
        check.ok is None and check.found.endswith("the time of 2.5") and "runtime.threads=2" in check.remedy
    )


def test_little_memory_and_less_shared_memory(
    files: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(memory_max=str(3 * 2**30), memory_current=str(2 * 2**30))
    check = memory()
    assert (check.ok, check.found) == (False, "1.0 GiB free") and "end other programs" in check.remedy

    monkeypatch.setattr(machine, "free_memory", lambda: 20 * 2**30)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=2**26, free=2**26))
    check = shared_memory(tmp_path)
    assert check.ok is None and check.found.startswith("0.1 GiB free") and "--shm-size=6g" in check.remedy
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=2**34, free=2**34))
    assert memory().ok and shared_memory(tmp_path).ok


def test_full_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(total: int, free: int) -> None:
        sizes = SimpleNamespace(total=total * 2**30, free=free * 2**30)
        monkeypatch.setattr("shutil.disk_usage", lambda _: sizes)

    of(1000, 0)
    assert disk("/tmp", tmp_path, 0.95).ok is False
    of(1000, 20)
    check = disk("/tmp", tmp_path, 0.95)
    assert check.ok is None and check.found == f"20.0 GiB free in {tmp_path}, 98% full"
    assert disk("working folder", tmp_path).ok
    of(1000, 500)
    assert disk("/tmp", tmp_path, 0.95).ok


def test_switches_of_the_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bytecode().ok and uv_run().found == "no"
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert (bytecode().ok, bytecode().remedy) == (None, "unset PYTHONDONTWRITEBYTECODE")
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert uv_run().found == f"yes: Ray's workers use this environment, {sys.prefix}"
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "1")
    assert uv_run().remedy == "unset RAY_ENABLE_UV_RUN_RUNTIME_ENV"
