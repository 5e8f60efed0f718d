"""Run files: by path, or by the name of one that comes with the package."""

from __future__ import annotations

from pathlib import Path

from cce_ray.config import Overrides, RunConfig, assignments_of, load_config
from cce_ray.runs.folder import free_names, is_record

_DEFAULT_RUN = "digits"


def _builtin_folder() -> Path:
    """Where the named runs lie: inside an installed package, or in the repository's jobs/runs."""
    installed = Path(__file__).parent / "builtin"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "jobs" / "runs"


def load_run(
    run: str | None = None, overrides: Overrides = (), *, resume: bool = False
) -> tuple[RunConfig, list[str]]:
    """The configuration of a run file or a built-in run (default: digits), and notes for the user.

    The record that a run keeps in its folder (config.yaml) repeats that run into the next free folder, or
    with `resume` continues it where it is, unless the overrides set output_dir.

    Raises ValueError for a missing file, an unknown key or a bad value.
    """
    path = Path(run or _DEFAULT_RUN)
    builtin = _builtin_folder() / f"{path.name}.yaml"
    if not path.suffix and not path.exists() and len(path.parts) == 1:
        if not builtin.exists():
            known = ", ".join(sorted(file.stem for file in _builtin_folder().glob("*.yaml")))
            raise ValueError(f"{run}: neither a run file nor a built-in run; built in are {known}")
        path = builtin
    elif run is None:
        path = builtin
    changes = assignments_of(overrides)
    config, notes = load_config(path, changes)
    if "output_dir" in changes or not is_record(path):
        return config, notes
    folder = path.absolute().parent
    if resume:
        return config.with_({"output_dir": str(folder)}), notes
    if config.output_dir:
        target = next(free_names(folder))
        config = config.with_({"output_dir": str(target)})
        notes.append(f"{path} is the record of a run: repeating it into {target}")
    return config, notes
