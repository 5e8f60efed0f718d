"""One thing that was looked at, and what the checks share: how they fail, and how they read and write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool | None
    """True: fine; False: broken; None: a note, or nothing to judge."""
    found: str
    remedy: str = ""
    """How to mend it, or what to do about it; empty: nothing."""


def guarded(name: str, step: Callable[[], Check]) -> Check:
    """The step's check, or that it cannot be done: what it imports may be the broken part."""
    try:
        return step()
    except Exception as error:  # whatever a broken installation raises
        reason = " ".join(str(error).split())[:200]
        remedy = "install cce_ray anew, into an empty environment" if isinstance(error, ImportError) else ""
        return Check(name, False, f"cannot be checked ({type(error).__name__}: {reason})", remedy)


def broken(name: str, message: str) -> Check:
    """A check from one of this package's messages: what is wrong; how to mend it."""
    found, _, remedy = message.partition("; ")
    return Check(name, False, found, remedy)


def first_line(path: str | Path) -> str:
    """Of a file; empty if it is not there, or empty."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    return ""


def gib(size: float) -> str:
    """Bytes, for people."""
    return f"{size / GIB:.1f} GiB"
