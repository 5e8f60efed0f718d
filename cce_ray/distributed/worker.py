"""What a Ray Train worker does: the package's one training loop, in a context of Ray's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import RaySystemError
from ray.train import Checkpoint

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.distributed.em.rows import EMHolders
from cce_ray.distributed.em.tasks import EMTasks
from cce_ray.distributed.version import code_version
from cce_ray.runs import RESULT_FILE, train_seed
from cce_ray.training import (
    CHECKPOINT_FILE,
    Alone,
    Helper,
    Holders,
    Judge,
    ProcessGroup,
    Ranks,
    load_checkpoint,
    save_checkpoint,
)

_PROGRESS_SECONDS = 0.25
"""A post of running metrics at most so often."""


@dataclass(frozen=True)
class Order:
    """What the driver wants of every worker; plain values and references, so that any version can read it."""

    config: dict[str, Any]
    dataset: ray.ObjectRef
    """The data, or the way to them where they are too large to travel."""
    run_id: str | None
    mailbox: Any
    beside: bool
    """Whether a CPU is reserved for EM beside the training."""
    judge: ray.ObjectRef | None
    """Who scores the network on the way."""
    version: str


@dataclass
class RayContext:
    """The loop's surroundings in a Ray Train worker."""

    device: torch.device
    ranks: Ranks
    helper: Helper | None
    holders: Holders | None
    judge: Judge | None
    mailbox: Any
    latest: dict[str, float]
    """The metrics of the last epoch: they go with the checkpoints."""
    posted: float = 0.0

    def restored(self) -> dict[str, Any] | None:
        """The last checkpoint that Ray Train kept of this run."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return load_checkpoint(Path(folder) / CHECKPOINT_FILE)

    def note(self, text: str) -> None:
        """Rank 0's, to the driver."""
        self.post("note", text)

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """To the driver, which has the tracker. (Ray's own report is a barrier that waits for the
        controller's next look, so it is kept for checkpoints.)"""
        self.latest = dict(metrics)
        self.post("epoch", step, self.latest)
        # Where trials are compared nobody goes on before the driver has looked at it.
        if self.judge and self.judge.due(step) and not ray.get(self.mailbox.verdict.remote(step)):
            raise Ended

    def progress(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """To the driver, a few times a second at most."""
        if time.monotonic() - self.posted >= _PROGRESS_SECONDS:
            self.posted = time.monotonic()
            self.post("step", step, total_steps, dict(metrics()))

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Through Ray Train to its storage; rank 0 writes."""
        with tempfile.TemporaryDirectory(prefix="cce_ray-") as folder:
            if self.ranks.rank == 0:
                save_checkpoint(Path(folder) / CHECKPOINT_FILE, state)
            self.hand_over(Path(folder))

    def hand_over(self, folder: Path) -> None:
        """Give the files of rank 0's folder to Ray Train, as its latest checkpoint; all ranks call it."""
        kept = Checkpoint.from_directory(str(folder)) if self.ranks.rank == 0 else None
        ray.train.report(self.latest, checkpoint=kept)

    def post(self, kind: str, *content: Any) -> None:
        """A post to the driver, from rank 0 alone."""
        if self.ranks.rank == 0:
            self.mailbox.put.remote(kind, *content)


class Ended(Exception):
    """The driver has seen enough of this run; all ranks learn it at the same epoch."""


def train_loop(order: dict[str, Any]) -> dict[str, str]:
    """Train one seed on all workers. Ray Train calls it in each; returns {"error": line or nothing}; the
    results are files of the last checkpoint.

    A user's mistake is returned and not raised: Ray Train would start all workers again for it.
    """
    wanted = Order(**order)
    if finished():
        return {"error": ""}
    ranks: Ranks = ProcessGroup() if ray.train.get_context().get_world_size() > 1 else Alone()
    config, dataset, problem = prepared(wanted)
    problems = [text for text in ranks.texts(problem) if text]
    if problems or config is None or dataset is None:
        return {"error": problems[0]}
    context = RayContext(
        device=_device_of(config),
        ranks=ranks,
        helper=EMTasks() if wanted.beside else None,
        holders=_holders_of(config),
        judge=ray.get(wanted.judge) if wanted.judge else None,
        mailbox=wanted.mailbox,
        latest={},
    )
    try:
        with tempfile.TemporaryDirectory(prefix="cce_ray-") as folder:
            train_seed(config, dataset, Path(folder), context, wanted.run_id)
            context.hand_over(Path(folder))
    except Ended:
        return {"error": "ended by the driver"}
    except ValueError as error:  # of what all ranks saw: all of them end here
        return {"error": str(error)}
    return {"error": ""}


def _holders_of(config: RunConfig) -> Holders | None:
    """Actors for the labels of the whole data set, one a thread of the worker, which waits meanwhile."""
    wanted = config.pseudo_labels
    return EMHolders(config.runtime.threads) if (wanted.scope, wanted.backend) == ("dataset", "ray") else None


def finished() -> bool:
    """Whether an earlier attempt got as far as handing over its results."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return False
    with checkpoint.as_directory() as folder:
        return (Path(folder) / RESULT_FILE).exists()


def prepared(order: Order) -> tuple[RunConfig | None, Dataset | None, str]:
    """The configuration and the data on this node, or what is wrong with them, in one line."""
    try:
        if order.version != code_version():
            raise ValueError(
                f"runtime.workers: a worker runs cce_ray {code_version()}, the driver {order.version}; "
                "install the same code on every node"
            )
        config = RunConfig.model_validate(order.config)
        _check_device(config)
        return config, ray.get(order.dataset), ""
    except (ValueError, OSError, RaySystemError) as error:
        # Data that this node does not see fail where Ray unpickles them, with the reason in the last line.
        text = " ".join(str(error).strip().splitlines()[-1].removeprefix("ValueError: ").split())
        return None, None, text if host() in text else f"{text} (on {host()})"


def _check_device(config: RunConfig) -> None:
    """ValueError if the worker was given no GPU that it needs."""
    if config.runtime.gpus_per_worker and not torch.cuda.is_available():
        raise ValueError("runtime.gpus_per_worker: torch finds no GPU; install its CUDA build on every node")


def _device_of(config: RunConfig) -> torch.device:
    """The GPU that Ray assigned to this worker, or the CPU."""
    from ray.train.torch import get_device

    device: torch.device = get_device() if config.runtime.gpus_per_worker else torch.device("cpu")
    return device


def host() -> str:
    """This node's name."""
    import socket

    return socket.gethostname()
