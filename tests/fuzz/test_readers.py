"""No damaged file ends in anything but one line that names it; `fuzz_readers.py` repeats a single one."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("fuzz_readers.py")
READERS = (
    "npy", "npz stored", "npz deflated", "parquet", "model pt", "checkpoint pt", "weights pth",
    "weights pth, old", "model.weights", "run yaml", "space yaml", "labels csv", "labels txt", "labels npy",
    "supervision csv", "record json", "png", "jpg", "gif", "tif", "bmp", "webp", "avif",
)  # fmt: skip


def fuzzed(mutations: int) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), "--json", "--mutations", str(mutations)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def fifty() -> dict[str, Any]:
    return fuzzed(50)


@pytest.fixture(scope="module")
def thousand() -> dict[str, Any]:
    return fuzzed(1000)


def check(reader: str, row: dict[str, Any], mutations: int) -> None:
    assert not row["failures"], "\n".join(row["failures"])
    assert row["mutations"] == row["refused"] + row["accepted"] == mutations
    assert row["refused"] > mutations // 10, "the damage does not reach the reader"


@pytest.mark.parametrize("reader", READERS)
def test_fifty_damaged_files_are_read_or_refused_in_one_line(reader: str, fifty: dict[str, Any]) -> None:
    check(reader, fifty[reader], 50)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", READERS)
def test_a_thousand_damaged_files_are_too(reader: str, thousand: dict[str, Any]) -> None:
    check(reader, thousand[reader], 1000)


def test_every_reader_is_named_here(fifty: dict[str, Any]) -> None:
    assert set(fifty) - {"safetensors"} == set(READERS)


PROBES = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import fuzz_readers, readers

def read(path, random):
    data = path.read_bytes()
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        time.sleep(3600)
    if data == b"memory":
        bytearray(2**30)
    if data == b"huge":
        bytearray(2**40)
    raise ValueError({{b"lines": f"{{path}}\\n: no", b"nameless": "no"}}.get(data, f"{{path}}: no"))

WORDS = [b"crash", b"memory", b"huge", b"hang", b"lines", b"nameless", b"fine"]

class Probe(readers.Reader):
    def mutant(self, number, seed):
        return WORDS[number], None

readers.READERS["probe"] = Probe("probe", ".x", lambda: [], read)
fuzz_readers.SILENCE = 20.0
fuzz_readers.__file__ = __file__
if "--child" in sys.argv:
    fuzz_readers.main()
else:
    for failure in fuzz_readers.fuzz(["probe"], 0, len(WORDS))["probe"].failures:
        sys.stdout.write(failure.replace(chr(10), " ") + chr(10))
"""


def test_crashes_hangs_and_memory_are_caught_and_the_rest_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "probe.py"
    script.write_text(PROBES.format(folder=str(SCRIPT.parent)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    failures = done.stdout.splitlines()
    expected = (
        "#0 .*SIGSEGV",
        "#1 took 1024 MiB",
        "#2 MemoryError",
        "#3 .*SIGKILL",
        "#4 ValueError",
        "#5 Val",
    )
    assert len(failures) == len(expected), done.stdout + done.stderr
    for failure, pattern in zip(failures, expected, strict=True):
        assert re.match(pattern, failure), failure
