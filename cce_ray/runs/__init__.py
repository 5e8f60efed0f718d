"""One whole run: configuration -> seeds -> training -> metrics -> report -> tracker; and prediction."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.runs.listener import Listener, LogListener
from cce_ray.runs.named import load_run

if TYPE_CHECKING:
    from cce_ray.runs.embedding import embed_file
    from cce_ray.runs.prediction import load_model, predict_data, predict_file
    from cce_ray.runs.run import run_training
    from cce_ray.runs.summary import RunSummary
else:
    # These need torch, for which a mistake in a configuration should not have to wait.
    __getattr__ = lazy(
        __name__,
        {
            "embedding": ["embed_file"],
            "prediction": ["load_model", "predict_data", "predict_file"],
            "run": ["run_training"],
            "summary": ["RunSummary"],
        },
    )

__all__ = [
    "Listener",
    "LogListener",
    "RunSummary",
    "embed_file",
    "load_model",
    "load_run",
    "predict_data",
    "predict_file",
    "run_training",
]
