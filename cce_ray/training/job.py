"""One run in progress, and how it is kept and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cce_ray.config import RunConfig
from cce_ray.data import Batches, Dataset
from cce_ray.models import Classifier
from cce_ray.pseudo_labels import PseudoLabels
from cce_ray.training.context import RunContext
from cce_ray.training.labelling import Labeller
from cce_ray.training.supervising import Supervision
from cce_ray.training.watch import EpochWatch


@dataclass
class Job:
    """One run in progress: all that changes during training, and what its steps need."""

    config: RunConfig
    dataset: Dataset
    context: RunContext
    model: Classifier
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    batches: Batches
    labeller: Labeller | None
    """None: the method estimates no pseudo-labels."""
    watch: EpochWatch
    supervision: Supervision | None = None
    """None: no labels are known."""
    neighbours: np.ndarray | None = None
    """(n, k) int64: rows of the nearest neighbours of each training sample, where the method wants them."""
    prior: np.ndarray | None = None
    """The clusters' shares u, (K,), as estimated so far; None where they do not change."""
    estimated: PseudoLabels | None = None
    """The epoch's latest."""
    history: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    em_seconds: float = 0.0
    samples: int = 0

    @property
    def total_steps(self) -> int:
        """Batches of the whole run."""
        return self.config.optimizer.epochs * self.batches.num_batches

    @property
    def samples_per_second(self) -> float:
        """Over all steps done."""
        return self.samples / self.seconds if self.seconds else 0.0

    def running_metrics(self) -> dict[str, float]:
        """Of the epoch so far."""
        return self.watch.running() | {"throughput/samples_per_second": self.samples_per_second}

    @property
    def step(self) -> int:
        """Batches done."""
        return self.epoch * self.batches.num_batches + self.batch


def state_of(job: Job) -> dict[str, Any]:
    """A checkpoint: everything that a resumed run needs to go on bit for bit. All ranks call it."""
    return {
        "model": job.model.state_dict(),
        "optimizer": job.optimizer.state_dict(),
        "watch": job.watch.state(),
        "prior": None if job.prior is None else torch.from_numpy(job.prior.copy()),
        "history": job.history,
        "position": [job.epoch, job.batch, job.samples],
        "times": [job.seconds, job.em_seconds],
        "random": torch.get_rng_state(),
        "sizes": _sizes_of(job),
    }


def _sizes_of(job: Job) -> list[int]:
    """Samples there are, and those of an epoch: what a resumed run must find again."""
    return [len(job.dataset.samples), len(job.batches)]


def restore(job: Job, state: dict[str, Any]) -> None:
    """Put the job where a checkpoint was taken."""
    before, now = state["sizes"], _sizes_of(job)
    if before != now:
        raise ValueError(
            f"data: the checkpoint was made with {before[1]} of {before[0]} samples, the data now give "
            f"{now[1]} of {now[0]}; restore the data or start afresh without --resume"
        )
    job.model.load_state_dict(state["model"])
    job.optimizer.load_state_dict(state["optimizer"])
    job.watch.restore(state["watch"], job.context.device)
    if job.prior is not None:
        job.prior = state["prior"].numpy().copy()
    job.history = state["history"]
    job.epoch, job.batch, job.samples = state["position"]
    job.seconds, job.em_seconds = state["times"]
    torch.set_rng_state(state["random"])
