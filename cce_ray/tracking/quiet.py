"""MLflow without its chatter."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("mlflow", "alembic")
_SWITCHES = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to --json
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else it copies the uv.lock of the working directory into the model
}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what MLflow and alembic say about themselves; the user's own logging stays as it is."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    before = {name: os.environ.get(name) for name in _SWITCHES}
    os.environ.update(_SWITCHES)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # what goes wrong reaches us as an exception
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
