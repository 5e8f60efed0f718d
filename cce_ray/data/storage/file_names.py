r"""File names as text: always UTF-8, one line in messages, and reversible.

A name on disk is bytes. As an id or a class name it is those bytes read as UTF-8; a byte that is not UTF-8
becomes `\xNN` (two lower-case hex digits), whatever the locale of the process.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# A backslash that `unescape_name` would otherwise read as the beginning of an escape.
_AMBIGUOUS = re.compile(r"\\(?=\\|x[0-9a-f]{2}|[\udc80-\udcff])")
_UNDECODED = re.compile(r"[\udc80-\udcff]")
_ESCAPE = re.compile(r"\\\\|\\x([0-9a-f]{2})")


def escape_name(name: str) -> str:
    r"""The name of a file, as `os` functions return it, as text that can be written as UTF-8.

    Undecodable bytes become `\xNN`, and a backslash is doubled where it comes before another one, before
    `xNN` or before such a byte. All other names stay as they are. `unescape_name` is the inverse.
    """
    if name.isascii() and "\\" not in name:
        return name
    text = _AMBIGUOUS.sub(r"\\\\", os.fsencode(name).decode("utf-8", "surrogateescape"))
    return _UNDECODED.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)


def unescape_name(text: str) -> str:
    """The name that `escape_name` has turned into `text`: what `open` takes in this process."""

    def original(escape: re.Match[str]) -> str:
        return "\\" if escape[1] is None else chr(0xDC00 + int(escape[1], 16))

    return os.fsdecode(_ESCAPE.sub(original, text).encode("utf-8", "surrogateescape"))


def show_name(name: str | Path) -> str:
    """A name for messages: escaped, and line breaks and other control characters as Python writes them."""
    text = escape_name(str(name))
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def openable(path: Path) -> Path:
    """The path as `open` takes it, also where it is text that the locale of this process cannot encode."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return Path(os.fsdecode(str(path).encode("utf-8", "surrogateescape")))
    return path
