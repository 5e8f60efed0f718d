"""One rank of runs without Ray, in a process of its own (tests/integration/rank_processes.py).

All ranks meet in a folder and do the runs in order; rank r leaves rank_r.pt there: of each run its history
and weights, or the error it ended with.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from cce_ray.config import load_config
from cce_ray.data import load_dataset
from cce_ray.training import LocalContext, train
from cce_ray.training.labelling import SharedLabeller
from cce_ray.training.ranks import Alone, ProcessGroup


def outcome(
    overrides: list[str], rank: int, size: int, folder: Path, stop_at: int, resume: bool
) -> dict[str, Any]:
    config = load_config(None, overrides)[0].resolved()

    def on_step(step: int, total: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        if step == stop_at:
            os._exit(9)

    context = LocalContext(
        torch.device("cpu"),
        folder=folder if rank == 0 or resume else None,
        resume=resume,
        on_step=on_step,
        ranks=ProcessGroup() if size > 1 else Alone(),
    )
    try:
        result = train(config, load_dataset(config.data), context)
    except ValueError as error:
        return {"error": str(error)}
    return {"history": result.history, "weights": result.model.state_dict()}


def shared_labels() -> list[bool]:
    """Whether EM that the ranks share gives the bits of EM by one of them, for batches of several sizes."""
    found = []
    for points, clusters in [(3, 2), (100, 5), (250, 10), (300, 60), (20_000, 8)]:
        config = load_config(None, ["pseudo_labels.max_iterations=7", "method.fairness_weight=20"])[0]
        probs = torch.randn((points, clusters), generator=torch.Generator().manual_seed(1)).softmax(1)
        labels, progress = SharedLabeller(config, ProcessGroup()).estimate(probs.numpy(), None)
        whole = config.method.labels(probs, config.pseudo_labels)
        found.append(torch.equal(labels, whole.labels) and progress == whole.progress)
    return found


def main(
    rank: int, size: int, folder: Path, runs: dict[str, list[str]], stop_at: int = 0, resume: bool = False
) -> None:
    """Do the runs, {name: [KEY=VALUE]}. Rank 0 is killed at the step `stop_at`; `resume` goes on from its
    checkpoint."""
    if size > 1:
        meeting = folder / ("resumed" if resume else "meeting")
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
        )
    found: dict[str, Any] = {"shared": shared_labels() if size > 1 else []}
    found |= {name: outcome(run, rank, size, folder, stop_at, resume) for name, run in runs.items()}
    torch.save(found, folder / f"rank_{rank}.pt")
