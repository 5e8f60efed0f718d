"""CPUs, memory and disks as a process started here has them, and switches of its environment."""

from __future__ import annotations

import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from cce_ray.doctor.check import GIB, Check, first_line, gib

LEAST_DISK, LEAST_MEMORY = GIB, 2 * GIB
"""A process with torch takes half a GiB, and a run on Ray is four or five of them."""
STORE_SHARE, STORE_MOST = 0.3, 1e10
"""The memory that Ray's object store takes, and up to what size it does so where /dev/shm is smaller."""


def cpus() -> Check:
    """How many CPUs a process started here may use."""
    from cce_ray.pseudo_labels import available_cores

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
