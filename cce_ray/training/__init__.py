"""The training loop and what it needs: context, checkpoints, evaluation."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.training.checkpoints import load_checkpoint, save_checkpoint
from cce_ray.training.context import LocalContext, RunContext
from cce_ray.training.evaluation import evaluate, predict, predict_batches
from cce_ray.training.loop import TrainResult, train
from cce_ray.training.supervising import known_labels

if TYPE_CHECKING:
    from cce_ray.training.checkpoints import CHECKPOINT_FILE
    from cce_ray.training.context import Helper, Holders, Judge
    from cce_ray.training.embedding import fixed_embedding, given_rows, standardized
    from cce_ray.training.ranks import Alone, ProcessGroup, Ranks
else:
    __getattr__ = lazy(
        __name__,
        {
            "checkpoints": ["CHECKPOINT_FILE"],
            "context": ["Helper", "Holders", "Judge"],
            "embedding": ["fixed_embedding", "given_rows", "standardized"],
            "ranks": ["Alone", "ProcessGroup", "Ranks"],
        },
    )


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
