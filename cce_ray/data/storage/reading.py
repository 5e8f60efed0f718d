"""One line for whatever a library raises on a damaged file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: Path, kind: str, field: str = "data.path", remedy: str = "save it again") -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into a ValueError of one line.

    Every reader of foreign bytes has its own surprises: zlib.error, struct.error, tokenize.TokenError,
    RecursionError, a RuntimeError for passwords, a MemoryError for a claimed terabyte. A list of them is
    never complete, so all are caught. Refusals that already name a setting pass unchanged.

    Args:
        path: the file that is read within.
        kind: what it should be, "an .npz file" say.
        field: the setting that names the file.
        remedy: what to do about it.
    """
    try:
        yield
    except Exception as error:
        if type(error) is ValueError and re.match(r"[a-z_]+\.[a-z_]+: ", str(error)):
            raise
        raise ValueError(
            f"{field}: '{path}' cannot be read as {kind} ({first_line(error)}); {remedy}"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0][:100])


def printable(text: str) -> str:
    """``text`` with what would break a line, or steer a terminal, written as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
