"""Names of files as text that is always UTF-8 and leads back to the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cce_ray.data.storage.file_names import escape_name, openable, show_name, unescape_name

NAMES = st.binary(min_size=1, max_size=30) | st.lists(
    st.sampled_from([b"\\", b"x", b"e9", b"41", b"\xe9", b"\xc3\xa9", b"a", b"/", b"X", b"\n"]), min_size=1
).map(b"".join)


@given(NAMES)
@example(b"\\\xe9")
@example(b"\\\\\\")
@example(b"\\\\xe9")
def test_every_name_comes_back(raw: bytes) -> None:
    text = escape_name(os.fsdecode(raw))
    assert os.fsencode(unescape_name(text)) == raw
    text.encode("utf-8")


@given(NAMES, NAMES)
def test_different_names_stay_different(one: bytes, other: bytes) -> None:
    same = escape_name(os.fsdecode(one)) == escape_name(os.fsdecode(other))
    assert same == (one == other)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain name.png", "plain name.png"),
        ("été/雪.png".encode(), "été/雪.png"),
        (b"caf\xe9.png", r"caf\xe9.png"),
        (rb"one\slash.png", r"one\slash.png"),
        (rb"a\xe9.png", r"a\\xe9.png"),
        (rb"a\\b.png", r"a\\\b.png"),
        (rb"a\xZZ\xE9", r"a\xZZ\xE9"),  # upper case is never written, so it is not ambiguous
        (b"\\\xe9", r"\\\xe9"),
    ],
)
def test_only_what_is_not_utf8_or_ambiguous_changes(raw: bytes, text: str) -> None:
    assert escape_name(os.fsdecode(raw)) == text


def test_messages_stay_on_one_line() -> None:
    assert show_name(os.fsdecode(b"a\nb\xe9\x1b[0m \xc3\xa9")) == r"a\nb\xe9\x1b[0m é"
    assert show_name(Path("é/x")) == "é/x"


CHILD = """
import os, sys
from pathlib import Path
from cce_ray.data.storage.file_names import escape_name, openable, unescape_name
folder = Path(os.fsdecode(sys.stdin.buffer.read()))
for name in sorted(os.listdir(folder), key=escape_name):
    text = escape_name(name)
    assert unescape_name(text) == name and (folder / unescape_name(text)).is_file()
    sys.stdout.buffer.write(text.encode() + b"\\n")
assert openable(folder) == folder
assert openable(folder / "\\u00e9.png").is_file()  # as a YAML file has it
sys.stdout.buffer.write(sys.getfilesystemencoding().encode())
"""


def test_names_are_the_same_in_every_locale(tmp_path: Path) -> None:
    for raw in ("é.png".encode(), b"caf\xe9.png", b"plain.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw)).touch()
    outputs = []
    for values in (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C.UTF-8"},
    ):
        result = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=os.fsencode(tmp_path),
            capture_output=True,
            env=os.environ | values,
            check=True,
        )
        outputs.append(result.stdout.decode().splitlines())
    assert [lines[:3] for lines in outputs] == [[r"caf\xe9.png", "plain.png", "é.png"]] * 2
    assert outputs[0][3] != "utf-8" and outputs[1][3] == "utf-8"
    assert openable(tmp_path) == tmp_path
