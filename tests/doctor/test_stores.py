"""MLflow's stores and folders of data sets: known ailments and what is said of each."""

import os
import socket
import sqlite3
from pathlib import Path

import pytest

from cce_ray.data import DATASETS
from cce_ray.data.sources.torchvision_sets import TorchvisionSettings
from cce_ray.doctor.check import Check
from cce_ray.doctor.stores import SETS, data_sets, mlflow_store

SECRET = "0123456789abcdef"


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
        assert mlflow_store(None) == Check("mlflow store", True, f"runs go to http://me:***@{place}")
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
