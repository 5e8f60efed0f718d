"""Versions and GPUs: known ailments and what is said of each."""

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from cce_ray.doctor import software
from cce_ray.doctor.check import Check
from cce_ray.doctor.software import cuda, library, nvidia_driver, package, python


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
    monkeypatch.setattr(software, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(Path, "exists", lambda path: device)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = cuda()
    assert check.ok is ok and check.found.startswith(found) and remedy in check.remedy


def test_the_driver_by_its_version(files: Callable[..., None]) -> None:
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.105.08  Release Build  (dvs)"
    files(version=line)
    assert nvidia_driver() == "580.105.08"
    files()
    assert nvidia_driver() is None
