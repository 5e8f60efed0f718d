"""One seed of a run: train, evaluate, keep; and which of several seeds to use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.files import write_json
from cce_ray.metrics import (
    cluster_sizes,
    clustering_scores,
    collapse_warning,
    mean_confidence,
    stability,
    used_clusters,
)
from cce_ray.models import save_classifier
from cce_ray.runs.listener import Listener
from cce_ray.training import CHECKPOINT_FILE, Judge, LocalContext, RunContext, evaluate, train

RESULT_FILE, MODEL_FILE, CLUSTERS_FILE = "result.json", "model.pt", "clusters.npy"


@dataclass(frozen=True)
class SeedResult:
    """What one seed ended with, as kept in its folder's result.json."""

    seed: int
    run_id: str | None
    scores: dict[str, float]
    """accuracy, nmi, ari on the evaluation samples; empty without labels."""
    clusters_used: int
    confidence: float
    loss: float | None
    seconds: float
    """Training and evaluation, all resumed parts together."""
    samples_per_second: float
    warning: str | None
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class SeedJob:
    """One seed to be trained, in a folder of its own."""

    config: RunConfig
    dataset: Dataset
    folder: Path
    resume: bool
    """Whether to continue from a checkpoint, if there is one."""
    run_id: str | None
    """Of its tracked run."""
    listener: Listener
    on_epoch: Callable[[int, Mapping[str, float]], None]
    judge: Judge | None = None
    """Who scores the network on the way."""


class SeedRunner(Protocol):
    """Who trains the seeds."""

    def check(self, config: RunConfig, dataset: Dataset, folder: Path, resume: bool) -> None:
        """ValueError, before anything is written, if it cannot do this run, which will lie in `folder`."""

    def train(self, job: SeedJob) -> SeedResult:
        """Train a seed and leave model, clusters and result in its folder."""


@final
class InProcess:
    """This process."""

    def check(self, config: RunConfig, dataset: Dataset, folder: Path, resume: bool) -> None:
        """Whether the device is there."""
        config.runtime.torch_device()

    def train(self, job: SeedJob) -> SeedResult:
        """With a checkpoint in the folder while it runs."""
        context = LocalContext(
            device=job.config.runtime.torch_device(),
            folder=job.folder,
            resume=job.resume,
            on_epoch=job.on_epoch,
            on_step=job.listener.step,
            on_note=job.listener.note,
            judge=job.judge,
        )
        result = train_seed(job.config, job.dataset, job.folder, context, job.run_id)
        (job.folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        return result


def train_seed(
    config: RunConfig, dataset: Dataset, folder: Path, context: RunContext, run_id: str | None
) -> SeedResult:
    """Train with `config.runtime.seed`, evaluate, and leave model, clusters and result in `folder`.

    All ranks of the context call it, each with a folder of its own; only rank 0 writes.
    """
    result = train(config, dataset, context)
    started = time.perf_counter()
    indices = dataset.evaluation_indices
    probs = evaluate(result.model, dataset, context.device, context.ranks)
    clusters = probs.argmax(1)
    sizes = cluster_sizes(clusters, dataset.num_clusters)
    scores: dict[str, float] = {}
    if dataset.labels is not None:
        scores = clustering_scores(dataset.labels[indices], clusters, dataset.num_clusters)
    outcome = SeedResult(
        seed=config.runtime.seed,
        run_id=run_id,
        scores=scores,
        clusters_used=used_clusters(sizes),
        confidence=mean_confidence(probs),
        loss=result.history[-1]["loss/total"] if result.history else None,
        seconds=result.seconds + time.perf_counter() - started,
        samples_per_second=result.samples_per_second,
        warning=collapse_warning(sizes, mean_confidence(probs)),
        history=result.history,
    )
    if context.ranks.rank == 0:
        card = _model_card(config, dataset)
        save_classifier(folder / MODEL_FILE, result.model, settings=config.model, metadata=card)
        np.save(folder / CLUSTERS_FILE, clusters)
        write_json(folder / RESULT_FILE, asdict(outcome))  # last: it says that the rest is complete
    return outcome


def _model_card(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """What a model file says of its origin: the run, the names of the classes if there were labels, and the
    settings with which new data are read as the training data were (`Source.reading`)."""
    return {
        "config": config.to_dict(),
        "class_names": list(dataset.class_names) if dataset.class_names else None,
        "num_samples": len(dataset.train_indices),
        "reading": dict(dataset.reading),
    }


def representative(results: list[SeedResult], folders: list[Path]) -> int:
    """Position of the seed to use, chosen without labels.

    The one that uses the most clusters; among these the one whose clusters agree best with those of the other
    seeds (mean adjusted Rand index): a stable labelling among the full ones; then the one of lowest loss.
    """
    most = max(result.clusters_used for result in results)
    full = [number for number, result in enumerate(results) if result.clusters_used == most]
    if len(full) == 1:
        return full[0]
    agreement = stability([np.load(folders[number] / CLUSTERS_FILE, allow_pickle=False) for number in full])

    def merit(position: int) -> tuple[float, float]:
        loss = results[full[position]].loss
        return round(float(agreement[position]), 6), -(loss if loss is not None else 0.0)

    return full[max(range(len(full)), key=merit)]
