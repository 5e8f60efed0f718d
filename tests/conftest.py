import os
import socket
from collections.abc import Iterator
from contextlib import suppress
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


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook, and later than this no longer
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With -n: tests that start Ray in one process, for there may be one Ray at a time, and first, for they
    take longest; of the others every file in one process, for its fixtures' sake, long files first. Tests
    that share a Ray come after those that start their own. Nightly tests run if -m names them: an
    `-m "not nightly"` among the options any other -m would undo."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(
        key=lambda item: (
            item.get_closest_marker("ray") is None,
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

    with started_cluster(object_store_memory=200_000_000, include_dashboard=False) as cluster:
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
