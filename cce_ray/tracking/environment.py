"""Tags that say what ran where."""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cce_ray.version import __version__

if TYPE_CHECKING:
    import torch


def environment_tags(device: str) -> dict[str, str]:
    """Version, commit, device and hardware of this process, as tags. ``device`` is 'cpu' or 'cuda'."""
    import torch

    program = Path(sys.argv[0]).name
    tags = {
        "cce_ray.version": __version__,
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "cpu": _cpu(),
        "cpu_count": str(os.cpu_count()),
        "command": shlex.join([program, *sys.argv[1:]]),
        "mlflow.source.name": program,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    if device.startswith("cuda"):
        tags["gpu"] = torch.cuda.get_device_name(device)
    commit = git_commit()
    if commit:
        tags["cce_ray.commit"] = commit
        tags["mlflow.source.git.commit"] = commit.removesuffix("-dirty")
    return {key: value for key, value in tags.items() if value}


def device_name(device: torch.device) -> str:
    """The name of the GPU or of the processor."""
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else _cpu()


def git_commit() -> str | None:
    """The commit of the checkout this package runs from, '-dirty' if changed; None for an installed one.

    Pages and results (`docs`) do not count: whoever renders one would soil the checkout for the next.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def answer(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        changed = answer("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs")
        return answer("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in the password file
        return ""


def _cpu() -> str:
    """The processor's name: platform.processor() is empty on most Linux distributions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
