"""Processes that begin with torch and this package loaded: forks of a process that has done nothing else."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

LOADED = ["torch", "torch.distributed", "cce_ray.config.run", "cce_ray.methods", "cce_ray.training"]


@cache
def forkserver() -> ForkServerContext:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch: its threads must not spin
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


@contextmanager
def running(script: Path, ranks: int, folder: Path, *arguments: Any) -> Iterator[Callable[[], list[int]]]:
    """Start `main(rank, ranks, folder, *arguments)` of a file as so many processes; none outlives the block.

    Yields a function that waits for all of them and returns their exit codes.
    """
    processes = [
        forkserver().Process(target=run, args=(str(script), rank, ranks, folder, *arguments))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()

    def wait() -> list[int]:
        for process in processes:
            process.join()
        return [process.exitcode or 0 for process in processes]

    try:
        yield wait
    finally:
        for process in processes:
            process.kill()
            process.join()


def run(script: str, rank: int, ranks: int, folder: Path, *arguments: Any) -> None:
    """In the process. What its main raises is in FOLDER/error_RANK.txt."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
        module.main(rank, ranks, folder, *arguments)
    except BaseException:
        (folder / f"error_{rank}.txt").write_text(traceback.format_exc())
        raise


def errors(folder: Path) -> str:
    """What was raised in the processes."""
    return "\n".join(path.read_text() for path in sorted(folder.glob("error_*.txt")))
