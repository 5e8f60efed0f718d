"""What pickled samples find when another process, perhaps on another machine, opens their files again."""

from __future__ import annotations

import socket
from pathlib import Path


def must_exist(path: Path) -> None:
    """Raises ValueError, one line with the host's name, where this machine does not see ``path``."""
    try:
        path.stat()
    except OSError as error:
        raise ValueError(
            f"data.path: '{path}' cannot be opened on {socket.gethostname()} ({error.strerror}); every node "
            "must see it: put it on shared storage"
        ) from error


def must_match(path: Path, found: object, expected: object) -> None:
    """Raises ValueError where ``path`` is another file here than where the data were loaded."""
    if found != expected:
        raise ValueError(
            f"data.path: '{path}' holds {found} on {socket.gethostname()}, but {expected} where the data "
            "were loaded; give every node the same file, and leave it alone during a run"
        )
