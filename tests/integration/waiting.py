"""Waiting for an event. What never comes is ended by the runner's own time-out (pyproject.toml), which is the
only limit that a test has: a busy machine may be twenty times slower than a quiet one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Return once `condition()` is true. AssertionError if `process` ends before that."""
    while not condition():
        if process and process.poll() is not None:
            assert condition(), f"{process.args} ended with {process.returncode}"
            return
        time.sleep(0.02)
