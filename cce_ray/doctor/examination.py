"""Every check at once, and the exit code that follows from them."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from cce_ray.doctor.check import Check, guarded
from cce_ray.doctor.cluster import ray_address, ray_token
from cce_ray.doctor.machine import bytecode, cpus, disk, memory, shared_memory, uv_run
from cce_ray.doctor.software import LIBRARIES, cuda, library, package, python
from cce_ray.doctor.stores import data_sets, mlflow_store
from cce_ray.doctor.table import show

_RAY_DISK_LIMIT = 0.95
"""Ray puts no more objects on a disk that is fuller."""


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
        "/tmp": lambda: disk("/tmp", Path("/tmp"), _RAY_DISK_LIMIT),
        "ray address": partial(ray_address, address),
        "ray token": partial(ray_token, address),
        "mlflow store": partial(mlflow_store, tracking_uri),
        "data sets": partial(data_sets, root),
        "bytecode": bytecode,
        "uv run": uv_run,
    }
    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(guarded, steps, steps.values()))
