"""The folder a run lives in: which one it is, what it must agree with, and that one process writes it."""

from __future__ import annotations

import fcntl
import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cce_ray.config import RunConfig, flatten, is_name, load_config

CONFIG_FILE, LOCK_FILE = "config.yaml", ".lock"
_LOST_AND_FOUND = "lost+found"
_FREE_KEYS = (
    "output_dir",
    "tracking.",
    "runtime.checkpoint_seconds",
    "runtime.workers",
    "runtime.min_workers",
    "runtime.gpus_per_worker",
    "runtime.max_failures",
)
"""Keys that may differ between a run and its resumption, as the number of seeds may."""


def open_folder(config: RunConfig, resume: bool) -> tuple[Path, RunConfig, bool]:
    """(absolute folder, resolved configuration, whether a run lies there and is continued).

    Without `resume`, an occupied folder is never touched: the default name moves on to the next free one, a
    name given by the user is refused. Raises ValueError when there is nothing to resume, or another run.
    """
    base = Path(config.output_dir or f"cce_output/{config.name}").expanduser().absolute()
    if not resume:
        taken = occupied(base)
        if taken and config.output_dir:
            raise ValueError(
                f"output_dir: {base} already holds a run; continue it with --resume or choose another folder"
            )
        return (next(free_names(base)) if taken else base), config.resolved(), False
    folder = base if config.output_dir else latest(base)
    if not (folder / CONFIG_FILE).exists():
        raise ValueError(f"output_dir: no run to resume in {folder}; start it without --resume")
    return folder, matching(config, folder), True


def is_run(folder: Path) -> bool:
    """Whether a run of this package is, or was, written into a folder."""
    return all((folder / name).is_file() for name in (CONFIG_FILE, LOCK_FILE))


def is_record(path: Path) -> bool:
    """Whether a file is the configuration that a run of this package keeps in its own folder."""
    return path.name == CONFIG_FILE and is_run(path.parent)


def occupied(folder: Path) -> bool:
    """Whether the folder holds more than hidden files and a file system's lost+found; or is a file."""
    if not folder.is_dir():
        return folder.exists() or folder.is_symlink()
    return any(not path.name.startswith(".") and path.name != _LOST_AND_FOUND for path in folder.iterdir())


def numbered(base: Path) -> Iterator[Path]:
    """base, base-2, base-3, ..."""
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")


def free_names(base: Path) -> Iterator[Path]:
    """The names of `numbered` that are not taken."""
    return (folder for folder in numbered(base) if not occupied(folder))


def latest(base: Path) -> Path:
    """The last taken name of `numbered`, or the first name."""
    taken = list(itertools.takewhile(occupied, numbered(base)))
    return taken[-1] if taken else base


def matching(config: RunConfig, folder: Path) -> RunConfig:
    """The stored configuration, if `config` asks for the same run; ValueError naming the first difference."""
    stored, _ = load_config(folder / CONFIG_FILE)
    if not config.runtime.threads:
        config = config.with_({"runtime.threads": stored.runtime.threads})
    check_same_run(config.resolved(), stored, str(folder))
    return config.resolved()


def check_same_run(config: RunConfig, stored: RunConfig, place: str) -> None:
    """ValueError naming the first key in which `config` and the run stored in `place` differ."""
    wanted, found = flatten(config.to_dict()), flatten(stored.to_dict())
    # Names first: with another data set all its keys differ too.
    for key in sorted(wanted.keys() | found.keys(), key=lambda key: (not is_name(key), key)):
        if not key.startswith(_FREE_KEYS) and wanted.get(key) != found.get(key):
            raise ValueError(
                f"{key}: {wanted.get(key)!r}, but the run in {place} has {found.get(key)!r}; "
                f"resume with its settings ({place}/{CONFIG_FILE}) or choose another output_dir"
            )


@contextmanager
def locked(folder: Path, *, resumed: bool, marker: str = CONFIG_FILE) -> Iterator[None]:
    """Make the folder and hold it for this process; ValueError if another one writes or, for a run that is
    not `resumed`, has written there since `open_folder`.

    A crash releases it. If the block fails before a run has begun there (that is when its file `marker`
    appears), what was made here goes again.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output_dir: {folder} cannot be made ({error.strerror}); choose another") from None
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"output_dir: another process is writing to {folder}; wait for it to end"
            ) from None
        if occupied(folder) and not resumed:
            raise ValueError(f"output_dir: another run was faster to {folder}; start this one again")
        try:
            yield
        finally:
            if not any(folder.rglob(marker)):
                _remove_made(made)


def _remove_made(made: list[Path]) -> None:
    """Remove a folder with all that is in it, and the parents made with it that hold nothing else."""
    if made:
        shutil.rmtree(made[0], ignore_errors=True)
    for parent in made[1:]:
        with suppress(OSError):  # another run has moved in beside this one
            parent.rmdir()
