"""One whole run: configuration -> seeds -> training -> metrics -> report -> tracker; and prediction."""

from cce_ray.runs.listener import Listener
from cce_ray.runs.named import load_run
from cce_ray.runs.prediction import predict_file
from cce_ray.runs.training import RunSummary, run_training

__all__ = ["Listener", "RunSummary", "load_run", "predict_file", "run_training"]
