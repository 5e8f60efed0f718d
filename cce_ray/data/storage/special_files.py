"""Regular files and everything else that a folder can hold."""

from __future__ import annotations

import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
}


def special_kind(mode: int) -> str | None:
    """What a file of this `st_mode` is, None for a regular one."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "special file")


def check_regular(path: Path) -> None:
    """Raises OSError if ``path`` is not a regular file: opening a FIFO would wait for ever."""
    kind = special_kind(path.stat().st_mode)
    if kind:
        raise OSError(f"a {kind}, not a regular file")
