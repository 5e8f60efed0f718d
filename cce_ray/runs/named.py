"""Run files: by path, or by the name of one that comes with the package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cce_ray.config import RunConfig, load_config

DEFAULT_RUN = "digits"


def builtin_folder() -> Path:
    """Where the named runs lie: inside an installed package, or in the repository's jobs/runs."""
    installed = Path(__file__).parent / "builtin"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "jobs" / "runs"


def load_run(run: str | None = None, overrides: Iterable[str] = ()) -> tuple[RunConfig, list[str]]:
    """The configuration of a run file or a built-in run (default: digits), and notes for the user.

    Raises ValueError for a missing file, an unknown key or a bad value.
    """
    path = Path(run or DEFAULT_RUN)
    builtin = builtin_folder() / f"{path.name}.yaml"
    if not path.suffix and not path.exists() and len(path.parts) == 1:
        if not builtin.exists():
            known = ", ".join(sorted(file.stem for file in builtin_folder().glob("*.yaml")))
            raise ValueError(f"{run}: neither a run file nor a built-in run; built in are {known}")
        path = builtin
    elif run is None:
        path = builtin
    return load_config(path, overrides)
