"""One copy per node: written once, shared, removed by the last, whatever happens to its users."""

import errno
import gc
import os
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from cce_ray.data.storage import node_copy as module
from cce_ray.data.storage.node_copy import identity, node_copy, remove_unused_copies

ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)

USER = """
import signal, sys, time
import numpy as np
from cce_ray.data.storage.node_copy import node_copy

def write(file):
    with open(sys.argv[1], "a") as log:
        log.write("written\\n")
    file.write(b"half")
    file.flush()
    if sys.argv[2] == "stuck":
        print("writing", flush=True)
        signal.pause()
    time.sleep(0.3)  # most often the others ask meanwhile; whether they do or not, they get this copy
    file.truncate(0)
    np.save(file, np.arange(12, dtype=np.float32).reshape(4, 3))

copy = node_copy(("set",), 200, write)
print(float(copy.sum()), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"cce_ray_{os.getuid()}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def user(how: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", USER, str(tmp_path / "log"), how]
        started.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )
        return started[-1]

    yield user
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == 0


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def write(file: BinaryIO) -> None:
    np.save(file, ARRAY)


def never(file: BinaryIO) -> None:
    raise AssertionError("there is a copy already")


def files(scratch: Path) -> list[str]:
    return sorted(path.suffix for path in scratch.iterdir())


def test_processes_share_one_copy_and_the_last_removes_it(
    tmp_path: Path, scratch: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    users = [start() for _ in range(3)]
    assert [said(user) for user in users] == ["66.0"] * 3
    assert (tmp_path / "log").read_text() == "written\n"
    assert files(scratch) == [".npy"]
    ended(users[0])
    killed(users[1])
    assert files(scratch) == [".npy"]
    ended(users[2])
    assert files(scratch) == []


def test_a_killed_writer_is_followed_by_the_next(
    tmp_path: Path, scratch: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    stuck = start("stuck")
    assert said(stuck) == "writing"
    waiting = start()
    killed(stuck)
    assert said(waiting) == "66.0"
    assert (tmp_path / "log").read_text() == "written\n" * 2
    assert files(scratch) == [".npy"]


def test_what_a_killed_user_leaves_is_used_again(
    scratch: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    user = start()
    assert said(user) == "66.0"
    killed(user)
    assert files(scratch) == [".npy"]
    again = node_copy(("set",), 200, never)
    assert np.array_equal(again, ARRAY)
    del again
    gc.collect()
    assert files(scratch) == []


def test_leftovers_go_when_they_are_old_or_in_the_way_but_never_in_use(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = node_copy(("used",), 200, write)
    for name in ("old.npy", "old.partial", "new.npy"):
        (scratch / name).write_bytes(b"x")
    for path in scratch.iterdir():
        if path.name != "new.npy":
            os.utime(path, (0, 0))
    other = node_copy(("other",), 200, write)
    assert len(files(scratch)) == 3 and (scratch / "new.npy").exists()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 100))
    with pytest.raises(
        ValueError, match=r"^data\.memory_limit_gib: a temporary copy needs .* has 0\.0; free"
    ):
        node_copy(("large",), 200, never)
    assert files(scratch) == [".npy"] * 2 and not (scratch / "new.npy").exists()
    assert np.array_equal(used, other)


def test_copies_that_killed_workers_left_can_be_removed_at_once(scratch: Path) -> None:
    remove_unused_copies()
    used = node_copy(("used",), 200, write)
    (scratch / "left.npy").write_bytes(b"x")
    remove_unused_copies()
    assert files(scratch) == [".npy"] and not (scratch / "left.npy").exists()
    assert np.array_equal(used, ARRAY)


def test_a_view_keeps_the_copy(scratch: Path) -> None:
    view = node_copy(("set",), 200, write)[1:].T
    gc.collect()
    assert files(scratch) == [".npy"] and view[0].tolist() == [3, 6, 9]
    assert not view.flags.writeable
    del view
    gc.collect()
    assert files(scratch) == []


def test_other_states_of_a_file_are_other_copies(tmp_path: Path, scratch: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    one = node_copy(identity(source), 200, write)
    same = node_copy(identity(source), 200, never)
    os.utime(source, ns=(1, 1))
    other = node_copy(identity(source), 200, write)
    assert files(scratch) == [".npy"] * 2
    assert np.array_equal(one, same) and np.array_equal(one, other)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_told_and_nothing_half_written_stays(scratch: Path, number: int) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(ValueError, match=r"^data\.memory_limit_gib: .* ended with '.*'; free some") as caught:
        node_copy(("set",), 200, fail)
    assert "\n" not in str(caught.value) and files(scratch) == []
    assert np.array_equal(node_copy(("set",), 200, write), ARRAY)


def test_a_file_size_limit_of_the_system_is_told_in_the_same_way(tmp_path: Path, scratch: Path) -> None:
    code = (
        "import resource, numpy as np; from cce_ray.data.storage.node_copy import node_copy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "node_copy(('set',), 200, lambda file: np.save(file, np.zeros(10**5)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1].startswith("ValueError: data.memory_limit_gib: a temporary copy")
    assert files(scratch) == []


def test_what_the_writer_raises_comes_through(scratch: Path) -> None:
    def fail(file: BinaryIO) -> None:
        raise ValueError("data.path: damaged")

    with pytest.raises(ValueError, match=r"^data\.path: damaged$"):
        node_copy(("set",), 200, fail)
    with pytest.raises(ValueError, match="pickle"):
        node_copy(("set",), 200, lambda file: file.write(b"no array of numbers"))
    assert files(scratch) == []


@pytest.mark.parametrize("prepared", ["open", "file", "link"])
def test_a_folder_that_others_may_have_prepared_is_refused(
    tmp_path: Path, scratch: Path, prepared: str
) -> None:
    if prepared == "open":
        scratch.mkdir()
        scratch.chmod(0o755)
    elif prepared == "file":
        scratch.touch(0o600)
    else:
        (tmp_path / "elsewhere").mkdir(0o700)
        scratch.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"^data\.memory_limit_gib: .* point TMPDIR elsewhere$"):
        node_copy(("set",), 200, never)


def test_the_folder_is_closed_to_others(scratch: Path) -> None:
    node_copy(("set",), 200, write)
    assert scratch.stat().st_mode & 0o777 == 0o700
    assert module.KEPT_SECONDS > 3600
