"""The training loop and what it needs: context, checkpoints, evaluation."""

from cce_ray.training.checkpoints import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from cce_ray.training.context import Helper, Holders, Judge, LocalContext, RunContext
from cce_ray.training.embedding import fixed_embedding, given_rows, standardized
from cce_ray.training.evaluation import evaluate, predict, predict_batches
from cce_ray.training.loop import TrainResult, train
from cce_ray.training.ranks import Alone, ProcessGroup, Ranks
from cce_ray.training.supervising import known_labels

__all__ = [
    "CHECKPOINT_FILE",
    "Alone",
    "Helper",
    "Holders",
    "Judge",
    "LocalContext",
    "ProcessGroup",
    "Ranks",
    "RunContext",
    "TrainResult",
    "evaluate",
    "fixed_embedding",
    "given_rows",
    "known_labels",
    "load_checkpoint",
    "predict",
    "predict_batches",
    "save_checkpoint",
    "standardized",
    "train",
]
