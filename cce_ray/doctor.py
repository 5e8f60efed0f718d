"""`cce doctor`: what is wrong, or worth knowing, before a run: versions, machine, Ray, MLflow, data.

Nothing is started and nothing is left behind. Every check stands for itself: one that fails on a broken
installation is a finding, and the others go on.
"""

from __future__ import annotations

import json as jsonlib
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from cce_ray.tracking.location import Location

LIBRARIES = ("ray", "torch", "torchvision", "numba", "optuna", "mlflow", "scipy", "scikit-learn")
INSTALL = "pip install" if util.find_spec("pip") else "uv pip install"

GIB = 2**30
LEAST_DISK, LEAST_MEMORY = GIB, 2 * GIB
"""A process with torch takes half a GiB, and a run on Ray is four or five of them."""
RAY_DISK_LIMIT = 0.95
"""Ray puts no more objects on a disk that is fuller."""
STORE_SHARE, STORE_MOST = 0.3, 1e10
"""The memory that Ray's object store takes, and up to what size it does so where /dev/shm is smaller."""

SETS = {
    "mnist": ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/t10k-images-idx3-ubyte"),
    "cifar10": ("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"),
    "cifar100_20": ("cifar-100-python/train", "cifar-100-python/test"),
    "stl10": ("stl10_binary/train_X.bin", "stl10_binary/test_X.bin"),
}
"""Files of torchvision's layout by which a set is known to be there."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool | None
    """True: fine; False: broken; None: a note, or nothing to judge."""
    found: str
    remedy: str = ""
    """How to mend it, or what to do about it; empty: nothing."""


def run_checks(
    address: str | None = None, root: Path | None = None, tracking_uri: str | None = None
) -> list[Check]:
    """Every check, in the order in which they are shown; at the same time, for some wait for the network.

    Args:
        address: HOST:PORT of a Ray cluster; by default RAY_ADDRESS, else none.
        root: Folder of data sets; by default CCE_DATA, else data.
        tracking_uri: MLflow's; by default MLFLOW_TRACKING_URI, else a file in every run's folder.
    """
    steps: dict[str, Callable[[], Check]] = {
        "python": python,
        "cce_ray": package,
        **{name: partial(library, name) for name in LIBRARIES},
        "cuda": cuda,
        "cpus": cpus,
        "memory": memory,
        "shared memory": partial(shared_memory, Path("/dev/shm")),
        "working folder": lambda: disk("working folder", Path.cwd()),
        "/tmp": lambda: disk("/tmp", Path("/tmp"), RAY_DISK_LIMIT),
        "ray address": partial(ray_address, address),
        "ray token": partial(ray_token, address),
        "mlflow store": partial(mlflow_store, tracking_uri),
        "data sets": partial(data_sets, root),
        "bytecode": bytecode,
        "uv run": uv_run,
    }
    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(guarded, steps, steps.values()))


def guarded(name: str, step: Callable[[], Check]) -> Check:
    """The step's check, or that it cannot be done: what it imports may be the broken part."""
    try:
        return step()
    except Exception as error:  # whatever a broken installation raises
        reason = " ".join(str(error).split())[:200]
        remedy = "install cce_ray anew, into an empty environment" if isinstance(error, ImportError) else ""
        return Check(name, False, f"cannot be checked ({type(error).__name__}: {reason})", remedy)


def requirement(name: str) -> Requirement:
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
    from cce_ray import __version__
    from cce_ray.distributed.version import code_version

    found, installed = f"{code_version()} in {Path(__file__).parent}", "nothing"
    with suppress(metadata.PackageNotFoundError):
        installed = metadata.version("cce_ray")
    if installed == __version__:
        return Check("cce_ray", True, found)
    return Check("cce_ray", None, f"{found}, installed is {installed}", f"{INSTALL} -e REPOSITORY")


def library(name: str) -> Check:
    """Whether a library is there, within its bounds; torchvision also beside the torch it was made for."""
    from packaging.requirements import Requirement

    wanted = requirement(name)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f'{INSTALL} "{wanted}"')
    if not wanted.specifier.contains(version, prereleases=True):
        return Check(name, False, f"{version}, wanted is {wanted.specifier}", f'{INSTALL} "{wanted}"')
    if name == "torchvision":
        torch = metadata.version("torch")
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.name == "torch" and not needed.specifier.contains(torch, prereleases=True):
                found = f"{version}, made for torch{needed.specifier} and not {torch}"
                return Check(name, False, found, f"{INSTALL} --upgrade torch torchvision")
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


def cpus() -> Check:
    """How many CPUs a process started here may use."""
    from cce_ray.pseudo_labels.mappers import available_cores

    cores, threads = available_cores(), os.environ.get("OMP_NUM_THREADS", "")
    found = f"{cores} of {os.cpu_count()} for this process"
    quota, _, period = first_line("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and int(quota) < cores * int(period):
        share = int(quota) / int(period)
        remedy = f"--set runtime.threads={max(1, int(share))}: more threads would slow each other down"
        return Check("cpus", None, f"{found}, in a container with the time of {share:g}", remedy)
    if threads.isdigit() and 0 < int(threads) < cores:
        return Check("cpus", None, f"{found}; OMP_NUM_THREADS={threads}", "unset OMP_NUM_THREADS to use all")
    return Check("cpus", True, found)


def memory() -> Check:
    """Free memory."""
    free = free_memory()
    if free is None:
        return Check("memory", None, "unknown on this system")
    if free < LEAST_MEMORY:
        remedy = "end other programs, or take a larger machine: every process with torch needs 0.5 GiB"
        return Check("memory", False, f"{gib(free)} free", remedy)
    return Check("memory", True, f"{gib(free)} free")


def free_memory() -> float | None:
    """Bytes that can be had: of the machine, or what is left of the container's share."""
    with suppress(OSError):
        available = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
        free = float(available.group(1)) * 1024 if available else None
        most, used = first_line("/sys/fs/cgroup/memory.max"), first_line("/sys/fs/cgroup/memory.current")
        return min(free, float(most) - float(used)) if free and most.isdigit() and used.isdigit() else free
    return None


def shared_memory(place: Path) -> Check:
    """Where Ray keeps its objects; a container of Docker has 64 MB of it."""
    name, free = "shared memory", free_memory()
    if free is None or not place.is_dir():
        return Check(name, None, f"no {place}: Ray keeps its objects in /tmp")
    size, wanted = shutil.disk_usage(place).free, min(STORE_SHARE * free, STORE_MOST)
    if size >= wanted:
        return Check(name, True, f"{gib(size)} free in {place}")
    found = f"{gib(size)} free in {place}, and Ray wants {gib(wanted)}: its objects will lie in /tmp, slower"
    remedy = f"docker run --shm-size={wanted / GIB:.0f}g, or remove files from {place}"
    return Check(name, None, found, remedy)


def disk(name: str, folder: Path, most_full: float = 1.0) -> Check:
    """Room on a disk; a note where it is fuller than `most_full`."""
    usage = shutil.disk_usage(folder)
    found, full = f"{gib(usage.free)} free in {folder}", 1 - usage.free / usage.total
    if usage.free < LEAST_DISK:
        return Check(name, False, found, "make room, or runs will end with a full disk")
    if full > most_full:
        remedy = f"make room: beyond {most_full:.0%} Ray puts no objects there"
        return Check(name, None, f"{found}, {full:.0%} full", remedy)
    return Check(name, True, found)


def ray_address(address: str | None) -> Check:
    """Whether the cluster that a run would join answers. Ray is not started for it."""
    from cce_ray.distributed.cluster import address_of, check_answers

    name, wanted = "ray address", address_of(address)
    if wanted == "local":
        return Check(name, None, "none: Ray is started on this machine")
    if "://" in wanted:
        remedy = "to join a cluster give HOST:PORT of its head; from outside use ray job submit"
        if wanted.startswith("http") and not address:
            return Check(name, None, f"RAY_ADDRESS={wanted}: for ray job submit, not for cce", remedy)
        return Check(name, False, f"{wanted}: not an address that cce can join", remedy)
    if wanted == "auto":
        wanted = first_line("/tmp/ray/ray_current_cluster")
        if not wanted:
            return Check(name, False, "auto: no cluster was started on this machine", "ray start --head")
    try:
        check_answers(wanted)
    except ValueError as error:
        return broken(name, str(error).removeprefix("--address "))
    return Check(name, True, f"{wanted} answers")


def ray_token(address: str | None) -> Check:
    """Whether there is a token for Ray's authentication, and Ray will use it. It is never shown."""
    from cce_ray.distributed.cluster import address_of

    name, mode = "ray token", os.environ.get("RAY_AUTH_MODE", "").lower()
    joins = address_of(address) not in ("local", "auto")
    named, given = os.environ.get("RAY_AUTH_TOKEN_PATH"), os.environ.get("RAY_AUTH_TOKEN")
    file = Path(named or Path.home() / ".ray" / "auth_token")
    source = "RAY_AUTH_TOKEN" if given else str(file)
    if mode == "disabled":
        found = "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports can run code"
        return Check(name, None, found, "unset RAY_AUTH_MODE")
    if not given and not first_line(file):
        copy = "copy the cluster's ~/.ray/auth_token here, and export RAY_AUTH_MODE=token"
        if named:
            return Check(
                name, False, f"RAY_AUTH_TOKEN_PATH={named}: not there, or empty", "correct or unset it"
            )
        if joins and mode:
            return Check(name, False, f"RAY_AUTH_MODE={mode}, and no token here", copy)
        if joins:
            return Check(name, None, "none: a cluster that asks for one will refuse", copy)
        return Check(name, None, "none: Ray makes one when it is started here")
    if joins and not mode:
        found = f"in {source}, which Ray does not show to a given address by itself"
        return Check(name, None, found, "export RAY_AUTH_MODE=token")
    if not given and seen_by_all(file):
        return Check(name, None, f"in {file}, which every user here can read", f"chmod 600 {file}")
    return Check(name, True, f"in {source}")


def seen_by_all(file: Path) -> bool:
    """Whether other users of the machine can read it."""
    return bool(file.stat().st_mode & 0o004) and all(
        path.stat().st_mode & 0o001 for path in file.absolute().parents
    )


def mlflow_store(uri: str | None) -> Check:
    """Where runs are tracked, and whether that works. What the trial makes is removed again."""
    from cce_ray.tracking.location import locate

    name, given = "mlflow store", uri or os.environ.get("MLFLOW_TRACKING_URI")
    output = Path("cce_output").absolute()
    try:
        location = locate(uri, output / ".doctor")
        try_out(location)
    except ValueError as error:
        if given:
            return broken(name, str(error).removeprefix("tracking.uri: "))
        remedy = "work in a folder that you can write, or add --set output_dir=FOLDER"
        return Check(name, False, f"{output} cannot be written", remedy)
    if not given:
        return Check(name, True, f"mlflow.db in every run's own folder, below {output}")
    if location.database and not Path(given.removeprefix("sqlite:///")).expanduser().is_absolute():
        remedy = f"write {location.uri}, or every folder has a store of its own"
        return Check(name, None, f"{given}: relative, {location.database} here", remedy)
    shown = re.sub(r"//[^/@]*@", "//", location.uri)  # without a password
    return Check(name, True, f"runs go to {shown}")


def try_out(location: Location) -> None:
    """`check` without a trace: an empty database and folders that were not there before go again."""
    from cce_ray.tracking.location import check

    file = location.database
    new = [path for path in (file, *file.parents) if not path.exists()] if file else []
    try:
        check(location)
    finally:
        with suppress(OSError):
            if file in new and file.stat().st_size == 0:
                file.unlink()
            for folder in new[1:]:
                folder.rmdir()


def data_sets(root: Path | None) -> Check:
    """Which of torchvision's sets are there, by the names of their files."""
    from cce_ray.data.torchvision_sets import data_root

    name, folder = "data sets", (root or data_root()).absolute()
    fetch = "add --set data.download=true, or let CCE_DATA name the folder that holds them"
    if not folder.is_dir():
        if root or os.environ.get("CCE_DATA"):
            source = "data.root" if root else "CCE_DATA"
            return Check(
                name, False, f"{source}: no folder {folder}", f"correct {source}, or make the folder"
            )
        return Check(name, None, "none, and digits and your own files need none", fetch)
    there = [key for key, files in SETS.items() if all((folder / file).is_file() for file in files)]
    if not there:
        return Check(name, None, f"none of {', '.join(SETS)} in {folder}", fetch)
    return Check(name, True, f"{', '.join(there)} in {folder}")


def bytecode() -> Check:
    """Whether Python keeps what it has compiled."""
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Check("bytecode", True, "kept")
    found = (
        "PYTHONDONTWRITEBYTECODE is set: every process of Ray compiles torch anew, about five seconds each"
    )
    return Check("bytecode", None, found, "unset PYTHONDONTWRITEBYTECODE")


def uv_run() -> Check:
    """Below `uv run` Ray would give every worker an environment of its own; cce_ray keeps it from that."""
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return Check("uv run", None, "no")
    if os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0") == "0":
        return Check("uv run", None, f"yes: Ray's workers use this environment, {sys.prefix}")
    found = (
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV is set: every worker of Ray makes its own environment, minutes each"
    )
    return Check("uv run", None, found, "unset RAY_ENABLE_UV_RUN_RUNTIME_ENV")


def broken(name: str, message: str) -> Check:
    """A check from one of this package's messages: what is wrong; how to mend it."""
    found, _, remedy = message.partition("; ")
    return Check(name, False, found, remedy)


def first_line(path: str | Path) -> str:
    """Of a file; empty if it is not there, or empty."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    return ""


def gib(size: float) -> str:
    """Bytes, for people."""
    return f"{size / GIB:.1f} GiB"


def doctor(
    address: str | None = None,
    root: Path | None = None,
    tracking_uri: str | None = None,
    *,
    json: bool = False,
) -> int:
    """Run the checks, show them on stdout, and return the exit code: 2 if something is broken, else 0."""
    checks = run_checks(address, root, tracking_uri)
    ill = sum(check.ok is False for check in checks)
    if json:
        report = {"ok": not ill, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(jsonlib.dumps(report) + "\n")
    else:
        show(checks)
    return 2 if ill else 0


def show(checks: list[Check]) -> None:
    """A table, and one line that sums it up."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    marks = {"ok": "green", "broken": "bold red", "note": "yellow", "-": "dim"}
    counts = dict.fromkeys(marks, 0)
    for check in checks:
        word = "ok" if check.ok else "broken" if check.ok is False else "note" if check.remedy else "-"
        counts[word] += 1
        text = Text(check.found)
        if check.remedy:
            text.append(f"\n-> {check.remedy}", style=marks[word])
        table.add_row(Text(word, style=marks[word]), check.name, text)
    console.print(table)
    verdict = f"{counts['broken']} broken" if counts["broken"] else "nothing broken"
    console.print(f"{verdict}, {counts['note']} to note" if counts["note"] else verdict)
