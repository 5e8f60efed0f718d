"""The command line, called in this process: no interpreter is started and torch is loaded once."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

import torch

from cce_ray.cli import main


def environment() -> dict[str, str]:
    """This process's, without MLflow's variables and what would slow a process down."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MLFLOW_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def cce_here(*arguments: str, cwd: Path) -> CompletedProcess[str]:
    """`cce ARGUMENTS` in the folder `cwd`: its exit code, and what it printed."""
    out, err, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    code: object = 0
    with (
        chdir(cwd),
        mock.patch.object(sys, "argv", ["cce", *arguments]),
        mock.patch.dict(os.environ, environment(), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            torch.set_num_threads(threads)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return CompletedProcess(
        arguments, code if isinstance(code, int) else int(bool(code)), out.getvalue(), err.getvalue()
    )
