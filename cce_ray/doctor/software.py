"""Python, this package and its libraries, and what torch makes of the GPUs."""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from cce_ray.doctor.check import Check, first_line, gib

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LIBRARIES = ("ray", "torch", "torchvision", "numba", "optuna", "mlflow", "scipy", "scikit-learn")
_INSTALL = "pip install" if util.find_spec("pip") else "uv pip install"


def _requirement(name: str) -> Requirement:
    """What the installed package wants of a library; any version where it is not installed."""
    from packaging.requirements import Requirement

    with suppress(metadata.PackageNotFoundError):
        for wanted in map(Requirement, metadata.requires("cce_ray") or []):
            if wanted.name == name and (wanted.marker is None or wanted.marker.evaluate()):
                return wanted
    return Requirement(name)


def python() -> Check:
    """Python's version."""
    from packaging.specifiers import SpecifierSet

    found, wanted = f"{platform.python_version()} in {sys.prefix}", SpecifierSet()
    with suppress(metadata.PackageNotFoundError):
        wanted = SpecifierSet(metadata.metadata("cce_ray")["Requires-Python"] or "")
    if wanted.contains(platform.python_version(), prereleases=True):
        return Check("python", True, found)
    return Check("python", False, f"{found}, wanted is {wanted}", "uv venv --python 3.11, and install anew")


def package() -> Check:
    """This package: which code, from where, and whether the installed bounds are its own."""
    from cce_ray.distributed import code_version
    from cce_ray.version import __version__

    found, installed = f"{code_version()} in {Path(__file__).parents[1]}", "nothing"
    with suppress(metadata.PackageNotFoundError):
        installed = metadata.version("cce_ray")
    if installed == __version__:
        return Check("cce_ray", True, found)
    return Check("cce_ray", None, f"{found}, installed is {installed}", f"{_INSTALL} -e REPOSITORY")


def library(name: str) -> Check:
    """Whether a library is there, within its bounds; torchvision also beside the torch it was made for."""
    from packaging.requirements import Requirement

    wanted = _requirement(name)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f'{_INSTALL} "{wanted}"')
    if not wanted.specifier.contains(version, prereleases=True):
        return Check(name, False, f"{version}, wanted is {wanted.specifier}", f'{_INSTALL} "{wanted}"')
    if name == "torchvision":
        torch = metadata.version("torch")
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.name == "torch" and not needed.specifier.contains(torch, prereleases=True):
                found = f"{version}, made for torch{needed.specifier} and not {torch}"
                return Check(name, False, found, f"{_INSTALL} --upgrade torch torchvision")
    return Check(name, True, version)


def cuda() -> Check:
    """GPUs as torch sees them; none is fine, unless there is one that torch cannot use."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    build = f"torch for CUDA {torch.version.cuda}" if torch.version.cuda else "torch without CUDA"
    driver = nvidia_driver()
    if count:
        each = [torch.cuda.get_device_properties(number) for number in range(count)]
        names = ", ".join(f"{gpu.name} ({gib(gpu.total_memory)})" for gpu in each)
        return Check("cuda", True, f"{names}; {build}, driver {driver or 'unknown'}")
    if driver is None:
        return Check("cuda", None, f"CPU only: no NVIDIA driver; {build}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        found = f"CPU only: CUDA_VISIBLE_DEVICES is {visible!r}; driver {driver}"
        return Check("cuda", None, found, "unset CUDA_VISIBLE_DEVICES to use the GPU")
    if not Path("/dev/nvidiactl").exists():
        found = f"CPU only: no GPU in this container; driver {driver} on its host"
        return Check("cuda", None, found, "start the container with its GPUs: docker run --gpus all")
    reason = " ".join(str(told[0].message).split())[:150] if told else "no reason given"
    remedy = "update the driver, or install the torch for it: https://pytorch.org/get-started/locally"
    return Check("cuda", False, f"driver {driver}, but {build} finds no GPU ({reason})", remedy)


def nvidia_driver() -> str | None:
    """The version of the kernel's NVIDIA driver, if there is one."""
    line = first_line("/proc/driver/nvidia/version")
    number = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", line)
    return number.group(1) if number else line or None
