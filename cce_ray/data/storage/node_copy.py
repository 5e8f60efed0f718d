"""One unpacked copy per node of what cannot be read at random, shared by all processes that need it.

The copy is a file that everybody maps into memory and nobody holds in memory. Its life hangs on locks
(``flock``), which end with the process that holds them, however that ends:

- The name follows from the source (path, size, time of change), so that all look for the same file.
- Whoever comes first writes it under another name, locked; the others wait for that lock. It gets its name
  when it is complete: a file of that name is never half-written, and what a killed writer leaves under the
  other name the next one writes over.
- Every user holds a shared lock on it, and whoever ends last removes it: no user, no lock.
- A killed user removes nothing. What it leaves is used again, or removed when another copy is written and it
  has been unused for a day or the disk is too small, or by ``remove_unused_copies``.

Removing a file never harms those who have mapped it, so that an unlucky moment costs a second copy at worst.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

KEPT_SECONDS = 24 * 3600.0
"""How long a copy that a killed process left behind waits to be used again."""


def identity(path: Path) -> tuple[object, ...]:
    """What tells one state of a file from another: path, size and time of its last change."""
    found = path.stat()
    return (str(path), found.st_size, found.st_mtime_ns)


def node_copy(origin: tuple[object, ...], size: int, write: Callable[[BinaryIO], None]) -> np.ndarray:
    """The array that ``write`` puts into a file, memory-mapped and read-only; written once per node.

    Args:
        origin: tells one copy from another: ``identity`` of its source and what was taken of it.
        size: bytes of the file, roughly.
        write: writes the whole array in the .npy format; what it raises is raised here.

    Raises:
        ValueError: the disk is too small, or the folder for the copies is not this user's own.
    """
    name = hashlib.sha256(repr(origin).encode()).hexdigest()[:32]
    path = _folder() / f"{name}.npy"
    while (lock := _in_use(path)) is None:
        _write_once(path, size, write)
    try:
        copy = np.load(path, mmap_mode="r", allow_pickle=False)
    except BaseException:
        _leave(lock, path)
        raise
    # The mapping, not the array: views of the array outlive it.
    weakref.finalize(copy.base, _leave, lock, path)
    return copy


def remove_unused_copies() -> None:
    """Remove the copies on this node that no process uses, whatever their age: workers were killed."""
    _remove_unused(_folder(), 0.0)


def _folder() -> Path:
    """The user's folder for copies. It lies among everybody's, so nobody else may have prepared it."""
    folder = Path(tempfile.gettempdir()) / f"cce_ray_{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ValueError(
            f"data.memory_limit_gib: a temporary copy needs '{folder}' as a folder of your own, closed to "
            "others (0700); remove what is there, or point TMPDIR elsewhere"
        )
    return folder


def _in_use(path: Path) -> BinaryIO | None:
    """The copy, open and under a shared lock that keeps it; None where there is none."""
    try:
        file = path.open("r+b")  # An exclusive lock of a file on NFS needs the right to write.
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    if not _stands_at(file, path):  # Removed while we waited.
        file.close()
        return None
    os.utime(file.fileno())  # Its age counts from its last use.
    return file


def _write_once(path: Path, size: int, write: Callable[[BinaryIO], None]) -> None:
    """Write the copy, or wait for the process that does. Raises ValueError when the disk is too small."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("a+b") as file:
            # A complete copy is this very file: an exclusive lock at once would wait for all its users.
            fcntl.flock(file, fcntl.LOCK_SH)
            # Else another process begins to write, or it was completed or given up while we waited.
            if _alone(file) and _stands_at(file, partial):
                _write(file, partial, path, size, write)
    except OSError as error:  # Of a full disk closing the file tells once more.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ValueError(_too_small(size, f"ended with '{os.strerror(error.errno)}'")) from error


def _write(file: BinaryIO, partial: Path, path: Path, size: int, write: Callable[[BinaryIO], None]) -> None:
    """Write the copy into ``file`` at ``partial`` and give it its name, or leave nothing."""
    try:
        if not path.exists():
            _make_room(path.parent, size)
            file.truncate(0)
            write(file)
            file.flush()
            os.fsync(file.fileno())  # A copy cut short by a power failure would have its full name.
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _make_room(folder: Path, size: int) -> None:
    """Remove copies that nobody uses: old ones, or all if the space is needed. Raises ValueError."""
    for age in (KEPT_SECONDS, 0.0):
        _remove_unused(folder, age)
        free = shutil.disk_usage(folder).free
        if size <= free:
            return
    raise ValueError(_too_small(size, f"has {free / 2**30:.1f}"))


def _remove_unused(folder: Path, age: float) -> None:
    for path in folder.iterdir():
        with suppress(OSError):  # Others clear up at the same time.
            if time.time() - path.stat().st_mtime >= age:
                _leave(path.open("r+b"), path)


def _too_small(size: int, found: str) -> str:
    return (
        f"data.memory_limit_gib: a temporary copy needs {size / 2**30:.1f} GiB, and {tempfile.gettempdir()} "
        f"{found}; free some, point TMPDIR elsewhere, raise the limit or save as .npy"
    )


def _leave(file: BinaryIO, path: Path) -> None:
    """Give up the lock on a copy; remove the copy if nobody else holds one."""
    with file, suppress(OSError):  # It is nobody's error if it stays.
        if _alone(file) and _stands_at(file, path):
            path.unlink()


def _alone(file: BinaryIO) -> bool:
    """Make the lock exclusive if nobody else holds any."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stands_at(file: BinaryIO, path: Path) -> bool:
    """Whether ``path`` still is this open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False
