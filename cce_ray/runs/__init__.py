"""One whole run: configuration -> seeds -> training -> metrics -> report -> tracker; and prediction."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cce_ray.runs.listener import Listener
from cce_ray.runs.named import load_run

if TYPE_CHECKING:
    from cce_ray.runs.embedding import embed_file
    from cce_ray.runs.prediction import predict_file
    from cce_ray.runs.run import run_training
    from cce_ray.runs.summary import RunSummary

__all__ = ["Listener", "RunSummary", "embed_file", "load_run", "predict_file", "run_training"]

# These need torch, for which a mistake in a configuration should not have to wait.
_LAZY = {
    "embed_file": "embedding",
    "predict_file": "prediction",
    "RunSummary": "summary",
    "run_training": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
