"""What ran where: the facts that stand below every result."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

LIBRARIES = ("numpy", "numba", "torch")


def facts() -> dict[str, Any]:
    """Commit, hardware, threads, versions, the date, and how busy the machine is now."""
    import torch

    from cce_ray.pseudo_labels import num_threads
    from cce_ray.tracking import device_name, git_commit

    gpu = device_name(torch.device("cuda")) if torch.cuda.is_available() else None
    return {
        "commit": git_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "device": device_name(torch.device("cpu")),
        "gpu": gpu,
        "cores": os.cpu_count(),
        "threads": num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def commit_text(commit: str | None) -> str:
    """A commit as pages show it, with +changes if the checkout was changed."""
    return f"`{commit.replace('-dirty', '+changes')}`" if commit else "unknown (no checkout)"


def threads_text(count: int) -> str:
    """1 thread, 2 threads."""
    return f"{count} thread{'' if count == 1 else 's'}"


def hardware_text(found: Mapping[str, Any]) -> str:
    """Processor, cores, threads, GPU and load of `facts`."""
    text = f"{found['device']}, {found['cores']} cores, {threads_text(found['threads'])}"
    text += f"; {found['gpu']}" if found["gpu"] else ""
    return text + (f"; load before the run {found['load']:.1f}" if found["load"] is not None else "")


def versions_text(found: Mapping[str, Any]) -> str:
    """Python and the libraries of `facts`."""
    return ", ".join([f"Python {found['python']}", *(f"{name} {found[name]}" for name in LIBRARIES)])
