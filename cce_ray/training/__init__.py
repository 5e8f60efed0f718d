"""The training loop and what it needs: context, checkpoints, evaluation."""

from cce_ray.training.checkpoints import load_checkpoint, save_checkpoint
from cce_ray.training.context import LocalContext, RunContext
from cce_ray.training.evaluation import evaluate, predict, predict_batches
from cce_ray.training.loop import TrainResult, train
from cce_ray.training.supervising import known_labels

__all__ = [
    "LocalContext",
    "RunContext",
    "TrainResult",
    "evaluate",
    "known_labels",
    "load_checkpoint",
    "predict",
    "predict_batches",
    "save_checkpoint",
    "train",
]
