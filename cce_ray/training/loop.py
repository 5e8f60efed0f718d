"""The one training loop: Algorithm 2 of the paper, for every method, in one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from cce_ray.config import RunConfig
from cce_ray.data import Batches, Dataset, normalization
from cce_ray.metrics import clustering_scores
from cce_ray.models import Classifier, sync_batch_norms
from cce_ray.training.context import RunContext
from cce_ray.training.embedding import training_neighbours
from cce_ray.training.evaluation import evaluate
from cce_ray.training.job import Job, restore, state_of
from cce_ray.training.labelling import GivenLabels, make_labeller
from cce_ray.training.step import training_step
from cce_ray.training.supervising import Supervision, known_labels
from cce_ray.training.watch import EpochWatch


@dataclass
class TrainResult:
    """A trained model and how it got there."""

    model: Classifier
    history: list[dict[str, float]]
    """Metrics of each epoch, in order; empty for a method fitted in closed form."""
    seconds: float
    """Time of the training steps, all resumed parts together, without start-up and evaluation."""
    samples_per_second: float
    notes: list[str] = field(default_factory=list)


def train(
    config: RunConfig, dataset: Dataset, context: RunContext, targets: np.ndarray | None = None
) -> TrainResult:
    """Train (or fit) `config.method` on `dataset.train_indices`, resuming where `context` says.

    `config` must be resolved. On the CPU the result is a function of the configuration alone (seed and
    number of threads included) and of the number of ranks: a run that was interrupted and resumed ends with
    the same bits. Every rank of the context calls it and returns the same model. Batches are those of the
    whole group: their size, the loss, the statistics of batch norm and (but for scope "rank") the
    pseudo-labels do not depend on the number of ranks, up to the order of summation. With `targets` (N, K)
    float32, rows of the simplex, these stand for the pseudo-labels: supervised learning from soft labels.
    Raises ValueError, on all ranks, when the run diverges or cannot start.
    """
    config.runtime.apply()
    torch.manual_seed(config.runtime.seed)
    model = build_model(config, dataset).to(context.device)
    batches = Batches(
        dataset.samples,
        dataset.train_indices,
        batch_size=min(config.optimizer.batch_size, len(dataset.train_indices))
        if config.method.required_model
        else config.optimizer.batch_size,
        device=context.device,
        seed=config.runtime.seed,
        share=(context.ranks.rank, context.ranks.size),
    )
    started = time.perf_counter()
    fitted = config.method.fit(
        lambda: _normalized_rows(model, batches), dataset.num_clusters, config.runtime.seed
    )
    if fitted is not None:
        unknown = model.load_state_dict(fitted, strict=False).unexpected_keys
        assert not unknown, f"{config.method.name} fitted {unknown}, which {config.model.name} has not"
        seconds = time.perf_counter() - started
        return TrainResult(model, [], seconds, len(dataset.train_indices) / seconds)
    job = start(config, dataset, context, model, batches, targets)
    _run_epochs(job)
    return TrainResult(model, job.history, job.seconds, job.samples_per_second)


def build_model(config: RunConfig, dataset: Dataset) -> Classifier:
    """The untrained network with the data's normalisation in front."""
    shift, scale = normalization(dataset, config.data)
    return config.model.build(dataset.samples.shape, dataset.num_clusters, shift=shift, scale=scale)


def _normalized_rows(model: Classifier, batches: Batches) -> Iterator[np.ndarray]:
    """The training samples as normalised float32 rows (n, D), in order; n >= K in all but the last chunk."""
    for _, inputs in batches.sequential(max(batches.batch_size, model.num_clusters)):
        yield model.normalize(inputs).flatten(1).cpu().numpy()


def start(
    config: RunConfig,
    dataset: Dataset,
    context: RunContext,
    model: Classifier,
    batches: Batches,
    targets: np.ndarray | None = None,
) -> Job:
    """A job at its first step, or at the step of the checkpoint it resumes from."""
    method, ranks = config.method, context.ranks
    known = known_labels(config, dataset)
    if method.extra_clusters:
        model.add_extra_head(method.extra_clusters, method.extra_head_layers)
    if ranks.size > 1:
        sync_batch_norms(model)
    # Batches have two sizes at most. With graphs of fixed shape a step's bits depend on its own size, and not
    # on which size was compiled first, which a resumed run may change.
    forward = torch.compile(model, dynamic=False) if config.runtime.compile else model
    job = Job(
        config=config,
        dataset=dataset,
        context=context,
        model=model,
        forward=ranks.wrap(model, forward),
        optimizer=config.optimizer.build(model),
        batches=batches,
        labeller=GivenLabels(targets)
        if targets is not None
        else make_labeller(config, context, batches.batch_size, dataset, known),
        watch=EpochWatch(len(dataset.samples), dataset.num_clusters, ranks),
        supervision=None if known is None else Supervision(config, known, batches, (ranks.rank, ranks.size)),
        neighbours=training_neighbours(dataset, method.neighbour_embedding, method.num_neighbours)
        if method.num_neighbours
        else None,
        prior=config.pseudo_labels.first_prior(dataset.num_clusters),
    )
    for group in job.optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    state = context.restored()
    if state:
        restore(job, state)
    return job


def _run_epochs(job: Job) -> None:
    """Train from the job's step to the end, reporting every epoch and leaving checkpoints on the way."""
    job.model.train()
    last_checkpoint = time.perf_counter()

    def due() -> bool:
        return time.perf_counter() - last_checkpoint >= job.config.runtime.checkpoint_seconds

    while job.epoch < job.config.optimizer.epochs:
        clock = time.perf_counter()
        if job.batch == 0 and job.labeller:
            job.labeller.begin_epoch(job.model, job.prior)
        for indices, inputs in job.batches.epoch(job.epoch, start=job.batch):
            wanted = job.context.ranks.decide(due())  # known to all by the end of the step
            training_step(job, indices, inputs)
            job.batch += 1
            job.samples += len(indices)
            # On the clock: who reads the running means waits for the step to end on the device.
            if job.context.ranks.rank == 0:
                job.context.progress(job.step, job.total_steps, job.running_metrics)
            job.seconds += time.perf_counter() - clock
            whole = job.labeller is not None and not job.labeller.within_epochs
            inside = job.batch < job.batches.num_batches and not whole
            if wanted() and inside:
                job.context.checkpoint(state_of(job))
                last_checkpoint = time.perf_counter()
            clock = time.perf_counter()
        if job.context.device.type == "cuda":
            torch.cuda.synchronize(job.context.device)
        job.seconds += time.perf_counter() - clock
        _finish_epoch(job)
        if job.context.ranks.decide(job.epoch == job.config.optimizer.epochs or due())():
            job.context.checkpoint(state_of(job))
            last_checkpoint = time.perf_counter()


def _finish_epoch(job: Job) -> None:
    """Collect the epoch's metrics, report them, and move on to the next epoch."""
    metrics = job.watch.finish(job.dataset.labels)
    metrics["throughput/samples_per_second"] = job.samples_per_second
    metrics["em/share_of_time"] = job.em_seconds / max(job.seconds, 1e-9)
    if job.estimated is not None:
        if math.isfinite(job.estimated.gap):
            metrics["em/gap"] = job.estimated.gap
        job.estimated = None
    if job.prior is not None:
        metrics |= {"prior/smallest": float(job.prior.min()), "prior/largest": float(job.prior.max())}
    job.epoch, job.batch = job.epoch + 1, 0
    metrics |= evaluation(job, metrics)
    job.history.append(metrics)
    job.context.report(job.epoch, metrics)


def evaluation(job: Job, metrics: dict[str, float]) -> dict[str, float]:
    """score/* (accuracy, NMI and ARI) of the evaluation samples with the network as it stands, and what a
    judge says of it, in the epochs that want them."""
    every, judge, labels = job.config.runtime.evaluate_every, job.context.judge, job.dataset.labels
    scored = bool(every) and job.epoch % every == 0 and labels is not None
    judged = judge is not None and judge.due(job.epoch)
    if not (scored or judged):
        return {}
    probs = evaluate(job.model, job.dataset, job.context.device, job.context.ranks)
    found: dict[str, float] = {}
    if scored:
        assert labels is not None
        known = labels[job.dataset.evaluation_indices]
        scores = clustering_scores(known, probs.argmax(1), job.dataset.num_clusters)
        found |= {f"score/{name}": value for name, value in scores.items()}
    if judged:
        assert judge is not None
        found |= judge(probs, metrics)
    return found
