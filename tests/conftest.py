import os
from contextlib import suppress

import pytest

# torch.compile imports setuptools late. Deep in a whole run of the tests it once found the standard library's
# distutils loaded then, which setuptools refuses; nobody can load it before setuptools now.
with suppress(ImportError):
    import setuptools  # noqa: F401

# Tests that start Ray by themselves: below `uv run` its workers would build environments of their own.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With -n: tests that start Ray in one process, for there may be one Ray at a time; of the others every
    file in one, for the sake of its fixtures. Nightly tests run if -m names them: an `-m "not nightly"` among
    the options any other -m would undo."""
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    if "nightly" in config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    items[:] = [item for item in items if item not in nightly]
    config.hook.pytest_deselected(items=nightly)
