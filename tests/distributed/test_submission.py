"""Jobs of a cluster: what is refused before it is sent, and a search with a token from another folder."""

import os
import secrets
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cce_ray.distributed.submission import checked, inside, submit

RAY = str(Path(sys.executable).parent / "ray")
SPACE = {
    "run": "digits",
    "set": {"data.limit": 400, "model": "linear", "method.augmentation_weight": 0, "optimizer.epochs": 5,
            "optimizer.batch_size": 200, "tracking.register_model": "job"},
    "space": {"optimizer.learning_rate": {"low": 0.005, "high": 0.05, "log": True}},
    "trials": 2,
    "objective": "accuracy",
    "final": {"top": 1, "seeds": 1},
}  # fmt: skip


def nobody() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_an_address_of_nobody_is_one_line(scheme: str) -> None:
    with pytest.raises(ValueError, match=r"^--address \S+: nothing answers there [^\n]*$"):
        submit(["tune", "digits"], scheme + nobody())


@pytest.mark.parametrize("address", ["ray://host:10001", "http://"])
def test_an_address_of_another_kind_is_one_line(address: str) -> None:
    with pytest.raises(ValueError, match=r"^--address [^\n]*http://HOST:8265"):
        checked(address)


def test_a_file_that_would_not_travel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "space.yaml").touch()
    (tmp_path / "here" / "space.yaml").touch()
    monkeypatch.chdir(tmp_path / "here")
    inside(Path("space.yaml"))
    with pytest.raises(ValueError, match=r"space\.yaml: outside "):
        inside(Path("../space.yaml"))


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head with token authentication on; yields the environment of somebody who knows the token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    folder = Path("/tmp") / f"cce_ray-head-{os.getpid()}"
    knows = kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # The job's `python` is the head's: as if its environment were active.
    knows["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = [RAY, "start", "--head", "--num-cpus=2", "--port=6398", "--dashboard-host=127.0.0.1", "--block"]
    start += ["--dashboard-port=8298", "--disable-usage-stats", f"--temp-dir={folder}"]
    process = subprocess.Popen(start, env=knows, cwd=tmp_path, stdout=subprocess.DEVNULL)
    yield knows
    process.terminate()  # with --block all of Ray's processes end with it
    process.wait()


def cce(environment: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cce_ray.cli", "submit", *words, "--address", "http://127.0.0.1:8298"]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.ray
@pytest.mark.nightly
def test_a_search_as_a_job_from_another_folder(tmp_path: Path, head: dict[str, str]) -> None:
    here = tmp_path / "elsewhere"
    here.mkdir()
    (here / "space.yaml").write_text(yaml.safe_dump(SPACE))
    words = ["space.yaml", "--set", f"output_dir={tmp_path / 'out'}"]
    stranger = head | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    refused = cce(stranger, here, *words)
    while "nothing answers" in refused.stderr:
        refused = cce(stranger, here, *words)  # the head is still starting
    assert refused.returncode == 2
    assert "the cluster wants its token" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    done = cce(head, here, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 done" in done.stdout
    with sqlite3.connect(tmp_path / "out" / "mlflow.db") as base:
        rows = base.execute("select name, alias from registered_model_aliases").fetchall()
    assert rows == [("job", "champion")]
