import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cce_ray.doctor import machine, software

SWITCHES = (
    "CCE_DATA",
    "CUDA_VISIBLE_DEVICES",
    "MLFLOW_TRACKING_URI",
    "OMP_NUM_THREADS",
    "PYTHONDONTWRITEBYTECODE",
    "RAY_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    "UV_RUN_RECURSION_DEPTH",
)


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, an empty home, and no switches set."""
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let files of the system have these first lines, by their names with _ for a dot."""

    def let(**lines: str) -> None:
        for module in (machine, software):
            monkeypatch.setattr(
                module, "first_line", lambda path: lines.get(Path(path).name.replace(".", "_"), "")
            )

    return let
