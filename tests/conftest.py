import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# torch.compile imports setuptools late. Deep in a whole run of the tests it once found the standard library's
# distutils loaded then, which setuptools refuses; nobody can load it before setuptools now.
with suppress(ImportError):
    import setuptools  # noqa: F401

# Tests that start Ray by themselves: below `uv run` its workers would build environments of their own.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

# A test has one limit, the runner's (`timeout` in pyproject.toml): a busy machine may be twenty times slower
# than a quiet one. Hypothesis has limits of its own, and so has Ray for the processes that it starts.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")
for name in (
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
    "RAY_worker_register_timeout_seconds",
    "RAY_raylet_start_wait_time_s",
    "RAY_gcs_server_port_wait_time_s",
):
    os.environ.setdefault(name, "3600")
# Ray runs its workers at niceness 15: beside busy processes they would hardly get any of the processor.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With -n: all files that start Ray in one process, for there may be one Ray at a time; of the others
    every file in one process, for the sake of its fixtures.

    (xdist's own groups need an attribute that pytest 9.2 has no more; they do nothing, and say nothing.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if starts_ray(config.rootpath / file) else file

    return ByFile(config, log)


@cache
def starts_ray(file: Path) -> bool:
    """Whether a test of the file is marked so."""
    return "mark.ray" in file.read_text(encoding="utf-8")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that start Ray come first, for they take longest, and in them tests that share one last; then
    the long files. Nightly tests run if -m names them: an `-m "not nightly"` among the options any other -m
    would undo.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(
        key=lambda item: (
            not starts_ray(item.path),
            "ray_cluster" in getattr(item, "fixturenames", ()),
            item.path not in slow,
        )
    )
    if "nightly" in config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    items[:] = [item for item in items if item not in nightly]
    config.hook.pytest_deselected(items=nightly)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of one node with two CPUs and a small object store, its dashboard off.

    One for all tests: a start costs Ray eight processes. Tests may add nodes, and remove them again.
    """
    from clusters import started_cluster

    with started_cluster(object_store_memory=100_000_000, include_dashboard=False) as cluster:
        yield cluster


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float | None]]:
    """(HOST:PORT, time-out) of every connection that is tried from now on."""
    tried: list[tuple[str, float | None]] = []
    connect = socket.create_connection

    def create_connection(
        address: tuple[str, int], timeout: float | None = None, **options: Any
    ) -> socket.socket:
        tried.append((f"{address[0]}:{address[1]}", timeout))
        return connect(address, timeout, **options)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    return tried
