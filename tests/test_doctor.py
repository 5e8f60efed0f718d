"""`cce doctor`: known ailments and what it says of each, without starting Ray."""

import io
import json
import os
import socket
import sqlite3
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cce_ray import doctor as examined
from cce_ray.data import DATASETS
from cce_ray.data.torchvision_sets import TorchvisionSettings
from cce_ray.doctor import (
    LIBRARIES,
    SETS,
    Check,
    bytecode,
    cpus,
    cuda,
    data_sets,
    disk,
    doctor,
    guarded,
    library,
    memory,
    mlflow_store,
    package,
    python,
    ray_address,
    ray_token,
    run_checks,
    shared_memory,
    uv_run,
)

SECRET = "0123456789abcdef"
SWITCHES = (
    "CCE_DATA",
    "CUDA_VISIBLE_DEVICES",
    "MLFLOW_TRACKING_URI",
    "OMP_NUM_THREADS",
    "PYTHONDONTWRITEBYTECODE",
    "RAY_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    "UV_RUN_RECURSION_DEPTH",
)


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, an empty home, and no switches set."""
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def token_file(home: Path) -> Path:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(SECRET)
    file.chmod(0o600)
    return file


def test_a_clean_folder_is_fine_and_stays_empty(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.name: check for check in run_checks()}
    assert {"python", "cce_ray", *LIBRARIES} <= set(checks)
    machine = {"cuda", "memory", "working folder", "/tmp"}  # as it happens to be
    assert [check for check in checks.values() if check.ok is False and check.name not in machine] == []
    assert not any(check.found.startswith("cannot be checked") for check in checks.values())
    assert not any("\n" in check.found + check.remedy for check in checks.values())
    assert checks["ray"] == Check("ray", True, metadata.version("ray"))
    assert checks["ray address"].found == "none: Ray is started on this machine"
    assert checks["mlflow store"] == Check(
        "mlflow store", True, f"mlflow.db in every run's own folder, below {clean}/cce_output"
    )
    assert list(clean.iterdir()) == [], "the trial of the store leaves nothing behind"
    assert capsys.readouterr().out == ""


def test_exit_codes_table_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("a", True, "[bold]1"), Check("b", None, "2"), Check("c", None, "3", "look")]
    monkeypatch.setattr(examined, "run_checks", lambda *_: checks)
    assert doctor() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["ok", "a", "[bold]1"], ["-", "b", "2"]]
    assert lines[2:] == [["note", "c", "3"], ["->", "look"], ["nothing", "broken,", "1", "to", "note"]]

    checks.append(Check("d", False, "4", "mend it"))
    assert doctor(json=True) == 2
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["ok"] is False
    assert report["checks"][3] == {"name": "d", "ok": False, "found": "4", "remedy": "mend it"}


def test_every_check_is_given_what_was_asked_for(
    nobody: str, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(nobody, clean / "nowhere", "./mlruns", json=True) == 2
    ill = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"] if check["ok"] is False]
    assert [name for name in ill if name in ("ray address", "mlflow store", "data sets")] == [
        "ray address",
        "mlflow store",
        "data sets",
    ]


def test_a_check_that_breaks_is_a_finding() -> None:
    def missing() -> Check:
        raise ImportError("libcudart.so.13: cannot open\nshared object file")

    check = guarded("cuda", missing)
    assert check.ok is False
    assert check.found == "cannot be checked (ImportError: libcudart.so.13: cannot open shared object file)"
    assert check.remedy == "install cce_ray anew, into an empty environment"


def versions(monkeypatch: pytest.MonkeyPatch, **simulated: str | None) -> None:
    """Let libraries have other versions, or (None) be missing."""
    real = metadata.version

    def version(name: str) -> str:
        found = simulated.get(name, "real")
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return real(name) if found == "real" else found

    monkeypatch.setattr(metadata, "version", version)


def test_an_old_version_and_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, ray="2.40.0", mlflow=None, torch="2.99.0+cu130")
    check = library("ray")
    assert (check.ok, check.found) == (False, "2.40.0, wanted is <3,>=2.50")
    assert check.remedy.endswith('pip install "ray[default,train,tune]<3,>=2.50"')
    check = library("mlflow")
    assert (check.ok, check.found) == (False, "not installed")
    assert check.remedy.endswith('pip install "mlflow<4,>=3.13"')
    assert library("torch") == Check("torch", True, "2.99.0+cu130")


def test_torchvision_made_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, torch="2.6.0", torchvision="0.30.0")
    real = metadata.requires
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["torch==2.7.0"] if name == "torchvision" else real(name)
    )
    check = library("torchvision")
    assert (check.ok, check.found) == (False, "0.30.0, made for torch==2.7.0 and not 2.6.0")
    assert "--upgrade torch torchvision" in check.remedy


def test_the_package_and_its_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert package().ok and python().ok
    versions(monkeypatch, cce_ray="0.0.1")
    check = package()
    assert check.ok is None and check.found.endswith("installed is 0.0.1") and "install -e" in check.remedy
    versions(monkeypatch, cce_ray=None)
    assert package().found.endswith("installed is nothing")
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    check = python()
    assert check.ok is False and check.found.startswith("3.9.1 in ") and ">=3.11" in check.found


@pytest.mark.parametrize(
    ("address", "found", "remedy"),
    [
        ("head", "head: give HOST:PORT", ""),
        ("ray://head:10001", "ray://head:10001: not an address that cce can join", "HOST:PORT"),
        ("http://head:8265", "http://head:8265: not an address that cce can join", "ray job submit"),
    ],
)
def test_addresses_that_are_none(address: str, found: str, remedy: str) -> None:
    check = ray_address(address)
    assert check.ok is False and check.found.startswith(found) and remedy in check.remedy


def test_an_address_where_nothing_listens_and_one_that_answers(
    nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    check = ray_address(nobody)
    assert time.monotonic() - started < 6
    assert check == Check(
        "ray address",
        False,
        f"{nobody}: nothing answers there (Connection refused)",
        "start a cluster with `ray start --head`, or leave the address out to use this machine",
    )
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert ray_address(address) == Check("ray address", True, f"{address} answers")
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert ray_address(None).ok
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    check = ray_address(None)
    assert check.ok is None and "for ray job submit" in check.found


def test_token_of_a_machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_token(None) == Check("ray token", None, "none: Ray makes one when it is started here")
    file = token_file(tmp_path / "home")
    assert ray_token(None) == Check("ray token", True, f"in {file}")
    file.chmod(0o644)
    monkeypatch.setattr(examined, "seen_by_all", lambda _: True)
    assert ray_token(None).remedy == f"chmod 600 {file}"
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    assert ray_token(None) == Check("ray token", True, "in RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check = ray_token(None)
    assert check.ok is None and "can run code" in check.found and check.remedy == "unset RAY_AUTH_MODE"


def test_token_for_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray shows a token to a given address only with RAY_AUTH_MODE=token (ray/_private/worker.py)."""
    check = ray_token("head:6379")
    assert check.ok is None and check.found.startswith("none")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    check = ray_token("head:6379")
    assert check.ok is False and "no token here" in check.found and "auth_token" in check.remedy

    file = token_file(tmp_path / "home")
    assert ray_token("head:6379") == Check("ray token", True, f"in {file}")
    monkeypatch.delenv("RAY_AUTH_MODE")
    check = ray_token("head:6379")
    assert check.ok is None and check.remedy == "export RAY_AUTH_MODE=token"

    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    check = ray_token("head:6379")
    assert check.ok is False and check.found == "RAY_AUTH_TOKEN_PATH=/nowhere/token: not there, or empty"
    for check in (ray_token(None), ray_token("head:6379")):
        assert SECRET not in check.found + check.remedy


def test_stores_that_cannot_be_used(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = mlflow_store("./mlruns")
    assert check.ok is False and "its file store is gone" in check.found
    assert check.remedy.startswith("write sqlite:///FILE.db")

    (clean / "file").write_text("")
    check = mlflow_store(f"sqlite:///{clean}/file/mlflow.db")
    assert check.ok is False and "cannot be used" in check.found and "tracking.uri" in check.remedy

    store = clean / "old.db"
    sqlite3.connect(store).close()
    store.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != store)  # root may write anything
    check = mlflow_store(f"sqlite:///{store}")
    assert check.ok is False and "it is read-only" in check.found
    assert store.exists(), "what was there stays"

    (clean / "cce_output").write_text("not a folder")
    check = mlflow_store(None)
    assert check.ok is False and check.found == f"{clean}/cce_output cannot be written"
    assert "output_dir" in check.remedy


def test_stores_that_can_be_used(clean: Path, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = mlflow_store("sqlite:///runs/mlflow.db")
    assert check.ok is None and check.found.endswith(f"relative, {clean}/runs/mlflow.db here")
    assert check.remedy.startswith(f"write sqlite:///{clean}/runs/mlflow.db")
    assert list(clean.iterdir()) == []
    absolute = f"sqlite:///{clean}/mlflow.db"
    assert mlflow_store(absolute) == Check("mlflow store", True, f"runs go to {absolute}")

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        place = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@{place}")
        assert mlflow_store(None) == Check("mlflow store", True, f"runs go to http://{place}")
    check = mlflow_store(f"http://{nobody}")
    assert check.ok is False and check.found.startswith(f"no server answers at {nobody}")


def test_data_sets_that_are_missing(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = data_sets(None)
    assert check.ok is None and "digits" in check.found and "CCE_DATA" in check.remedy
    check = data_sets(Path("nowhere"))
    assert (check.ok, check.found) == (False, f"data.root: no folder {clean}/nowhere")
    monkeypatch.setenv("CCE_DATA", "/no/data")
    check = data_sets(None)
    assert (check.ok, check.found) == (False, "CCE_DATA: no folder /no/data")
    assert check.remedy == "correct CCE_DATA, or make the folder"
    check = data_sets(clean)
    assert check.ok is None and "data.download=true" in check.remedy


def test_data_sets_that_are_there(clean: Path) -> None:
    for key in ("mnist", "stl10"):
        for file in SETS[key]:
            (clean / file).parent.mkdir(parents=True, exist_ok=True)
            (clean / file).write_text("")
    (clean / SETS["cifar10"][0]).parent.mkdir()
    (clean / SETS["cifar10"][0]).write_text("")  # half of it
    assert data_sets(clean) == Check("data sets", True, f"mnist, stl10 in {clean}")


def test_every_set_of_torchvision_is_looked_for() -> None:
    assert set(SETS) == {name for name, one in DATASETS.items() if issubclass(one, TorchvisionSettings)}


class FakeCUDA:
    """torch with or without a CUDA build, and with as many GPUs as wanted."""

    def __init__(self, build: str | None, gpus: int) -> None:
        self.version = SimpleNamespace(cuda=build)
        self.cuda = SimpleNamespace(
            is_available=lambda: gpus > 0,
            device_count=lambda: gpus,
            get_device_properties=lambda number: SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30),
        )


@pytest.mark.parametrize(
    ("build", "gpus", "driver", "visible", "device", "ok", "found", "remedy"),
    [
        ("13.2", 2, "580.1", None, True, True, "NVIDIA H100 (80.0 GiB), NVIDIA H100 (80.0 GiB); torch", ""),
        ("13.2", 0, None, None, False, None, "CPU only: no NVIDIA driver; torch for CUDA 13.2", ""),
        (None, 0, None, None, False, None, "CPU only: no NVIDIA driver; torch without CUDA", ""),
        ("13.2", 0, "580.1", "", True, None, "CPU only: CUDA_VISIBLE_DEVICES is ''", "unset CUDA_VISIBLE"),
        ("13.2", 0, "580.1", None, False, None, "CPU only: no GPU in this container", "--gpus all"),
        (
            "13.2",
            0,
            "470.1",
            None,
            True,
            False,
            "driver 470.1, but torch for CUDA 13.2 finds no GPU",
            "update",
        ),
        (None, 0, "580.1", None, True, False, "driver 580.1, but torch without CUDA finds no GPU", "install"),
    ],
)
def test_gpus(
    build: str | None,
    gpus: int,
    driver: str | None,
    visible: str | None,
    device: bool,
    ok: bool | None,
    found: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", FakeCUDA(build, gpus))  # type: ignore[arg-type]
    monkeypatch.setattr(examined, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(Path, "exists", lambda path: device)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = cuda()
    assert check.ok is ok and check.found.startswith(found) and remedy in check.remedy


def files(monkeypatch: pytest.MonkeyPatch, **lines: str) -> None:
    """Let files of the system have these first lines, by their names with _ for a dot."""
    monkeypatch.setattr(examined, "first_line", lambda path: lines.get(Path(path).name.replace(".", "_"), ""))


def test_the_driver_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.105.08  Release Build  (dvs)"
    files(monkeypatch, version=line)
    assert examined.nvidia_driver() == "580.105.08"
    files(monkeypatch)
    assert examined.nvidia_driver() is None


def test_cpus_of_a_container_and_of_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cce_ray.pseudo_labels.mappers.available_cores", lambda: 8)
    files(monkeypatch, cpu_max="max 100000")
    assert cpus().ok
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpus().remedy == "unset OMP_NUM_THREADS to use all"
    files(monkeypatch, cpu_max="250000 100000")
    check = cpus()
    assert (
        check.ok is None and check.found.endswith("the time of 2.5") and "runtime.threads=2" in check.remedy
    )


def test_little_memory_and_less_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, memory_max=str(3 * 2**30), memory_current=str(2 * 2**30))
    check = memory()
    assert (check.ok, check.found) == (False, "1.0 GiB free") and "end other programs" in check.remedy

    monkeypatch.setattr(examined, "free_memory", lambda: 20 * 2**30)
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


def test_the_table_folds_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut off."""
    from rich.console import Console

    shown = io.StringIO()

    def narrow(**_: Any) -> Console:
        return Console(file=shown, width=60, force_terminal=True, color_system=None)

    monkeypatch.setattr("rich.console.Console", narrow)
    examined.show([Check("ray token", False, "word " * 30 + "end", "mend " * 30 + "so")])
    words = shown.getvalue().split()
    assert words.count("word") == 30 and words.count("mend") == 30 and "so" in words
