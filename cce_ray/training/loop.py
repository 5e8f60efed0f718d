"""The one training loop: Algorithm 2 of the paper, for every method, in one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cce_ray.config import RunConfig
from cce_ray.data import Batches, Dataset, augment, normalization
from cce_ray.data.batches import to_device
from cce_ray.methods import Step
from cce_ray.metrics import clustering_scores
from cce_ray.models import Classifier
from cce_ray.models.synced_batch_norm import sync_batch_norms
from cce_ray.pseudo_labels import PseudoLabels
from cce_ray.training.batch_probs import BatchProbs
from cce_ray.training.context import RunContext
from cce_ray.training.embedding import training_neighbours
from cce_ray.training.evaluation import evaluate
from cce_ray.training.labelling import Given, Labeller, make_labeller
from cce_ray.training.ranks import share_sizes
from cce_ray.training.supervising import Supervision, known_labels
from cce_ray.training.watch import EpochWatch

SECOND_DRAW = 1_000_003
"""Between the augmentation seeds of two draws of one epoch: further apart than any run's seeds."""


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
        lambda: normalized_rows(model, batches), dataset.num_clusters, config.runtime.seed
    )
    if fitted is not None:
        unknown = model.load_state_dict(fitted, strict=False).unexpected_keys
        assert not unknown, f"{config.method.name} fitted {unknown}, which {config.model.name} has not"
        seconds = time.perf_counter() - started
        return TrainResult(model, [], seconds, len(dataset.train_indices) / seconds)
    job = start(config, dataset, context, model, batches, targets)
    run_epochs(job)
    return TrainResult(model, job.history, job.seconds, job.samples_per_second)


def build_model(config: RunConfig, dataset: Dataset) -> Classifier:
    """The untrained network with the data's normalisation in front."""
    shift, scale = normalization(dataset, config.data)
    return config.model.build(dataset.samples.shape, dataset.num_clusters, shift=shift, scale=scale)


def normalized_rows(model: Classifier, batches: Batches) -> Iterator[np.ndarray]:
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
        labeller=Given(targets)
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


def run_epochs(job: Job) -> None:
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
        finish_epoch(job)
        if job.context.ranks.decide(job.epoch == job.config.optimizer.epochs or due())():
            job.context.checkpoint(state_of(job))
            last_checkpoint = time.perf_counter()


def finish_epoch(job: Job) -> None:
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


def training_step(job: Job, indices: Tensor, inputs: Tensor) -> None:
    """Predictions, pseudo-labels, loss, update: one pass of Algorithm 2's inner loop.

    `indices` (B,) are those of the whole batch, `inputs` (b, *shape) this rank's part of it.
    """
    ranks, method = job.context.ranks, job.config.method
    own = job.batches.own(len(indices))
    raw = inputs
    if method.both_views_augmented:
        inputs = disturbed(job, indices[own], raw, draw=1)
    logits, extra = outputs_of(job, inputs)
    predicted = ranks.gather(torch.softmax(logits.detach(), 1), share_sizes(len(indices), ranks.size))
    probs, copied = to_host(predicted)

    @lru_cache(maxsize=1)
    def settle() -> None:
        if copied:
            copied.synchronize()
        check_finite(job, probs)

    pending = None
    if job.labeller:
        known = job.supervision.of(indices) if job.supervision else None
        pending = job.labeller.submit(BatchProbs(indices, predicted, probs, own, settle, known), job.prior)
    # Before the pseudo-labels are there: a GPU computes this, or a helper them, meanwhile.
    augmented, augmented_extra = None, None
    if method.wants_augmented_view:
        augmented, augmented_extra = outputs_of(job, disturbed(job, indices[own], raw))
    neighbour_logits = None
    if job.neighbours is not None:
        neighbour_logits, _ = outputs_of(job, job.batches.read(drawn_neighbours(job, indices)[own]))
    settle()
    started = time.perf_counter()
    labels = None
    if pending:
        job.estimated, labels = pending()
    job.em_seconds += time.perf_counter() - started
    step = Step(
        logits=logits,
        labels=labels,
        augmented_logits=augmented,
        neighbour_logits=neighbour_logits,
        extra_logits=extra,
        augmented_extra_logits=augmented_extra,
        inputs=partial(job.model.normalize, inputs),
        predict=job.model.logits_of_normalized,
        progress=job.step / job.total_steps,
        mean_over_ranks=whole_mean(job, len(indices)),
    )
    parts = method.loss(step)
    # The gradients' mean over the ranks is that of the whole batch's mean loss.
    weight = len(inputs) * ranks.size / len(indices)
    loss = weight * torch.stack(list(parts.values())).sum()
    if job.supervision:
        taught = supervised_loss(job, job.supervision)
        parts = parts | {"supervised": taught.detach() / weight}  # of which the watch takes b / B
        loss = loss + taught
    update(job, loss)
    iterations = job.estimated.progress[0] if job.estimated else 0
    job.watch.add(indices.numpy(), probs.numpy(), parts, len(inputs), iterations)
    job.prior = job.config.pseudo_labels.next_prior(job.prior, probs.numpy(), job.step / job.total_steps)


def outputs_of(job: Job, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits (b, K) of samples, and those of the extra head, if there is one."""
    with autocast(job):
        outputs = job.forward(inputs).float()
    if job.model.extra_head is None:
        return outputs, None
    return outputs[:, : job.model.num_clusters], outputs[:, job.model.num_clusters :]


def disturbed(job: Job, indices: Tensor, inputs: Tensor, draw: int = 0) -> Tensor:
    """The augmented copies of samples `indices` (b,), of the epoch's draw number `draw`."""
    return augment(
        inputs,
        to_device(indices, job.context.device),
        settings=job.config.augmentation,
        seed=job.config.runtime.seed + draw * SECOND_DRAW,
        epoch=job.epoch,
        shift=job.model.shift,
        scale=job.model.scale,
    )


def drawn_neighbours(job: Job, indices: Tensor) -> np.ndarray:
    """(B,) int64: a neighbour of each sample of a batch, of the epoch's own draw."""
    assert job.neighbours is not None
    generator = np.random.default_rng([job.config.runtime.seed, job.epoch, job.batch, 5])
    places = np.searchsorted(job.dataset.train_indices, indices.numpy())
    drawn: np.ndarray = job.neighbours[places, generator.integers(job.neighbours.shape[1], size=len(places))]
    return drawn


def whole_mean(job: Job, count: int) -> Callable[[Tensor], Tensor] | None:
    """`Step.mean` of a batch of `count` samples which several ranks share; None for one rank."""
    ranks = job.context.ranks
    if ranks.size == 1:
        return None

    def mean(rows: Tensor) -> Tensor:
        own = rows.mean(0)
        sums = ranks.gather(rows.detach().sum(0, keepdim=True), [1] * ranks.size)
        # The value is the whole batch's; the gradient goes to this rank's rows, and all ranks' is averaged.
        return own + (sums.sum(0) / count - own).detach()

    return mean


def supervised_loss(job: Job, supervision: Supervision) -> Tensor:
    """weight · mean cross-entropy of the step's samples with known labels, augmented like the others."""
    rows, inputs, labels, factor = supervision.draw(job.step)
    if job.config.method.wants_augmented_view or job.config.method.needs_known_labels:
        inputs = disturbed(job, rows, inputs)
    logits, _ = outputs_of(job, inputs)
    return factor * F.cross_entropy(logits, labels)


def check_finite(job: Job, probs: Tensor) -> None:
    """ValueError if the network's predictions are not finite."""
    if not bool(torch.isfinite(probs).all()):
        raise ValueError(
            f"optimizer.learning_rate: training diverged in epoch {job.epoch + 1} "
            f"(predictions are not finite); lower it from {job.config.optimizer.learning_rate} "
            "or set optimizer.clip_norm"
        )


def update(job: Job, loss: Tensor) -> None:
    """One step of the optimiser at the schedule's learning rates."""
    factor = job.config.optimizer.factor(job.step, job.total_steps)
    for group in job.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    job.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if job.config.optimizer.clip_norm:
        nn.utils.clip_grad_norm_(job.model.parameters(), job.config.optimizer.clip_norm)
    job.optimizer.step()


def autocast(job: Job) -> AbstractContextManager[None]:
    """bf16 for the network if the run asks for it."""
    enabled = job.config.runtime.precision == "bf16"
    return torch.autocast(job.context.device.type, torch.bfloat16, enabled=enabled)


def to_host(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """The tensor itself on the CPU; else a pinned copy, complete once the event has been waited for."""
    if tensor.device.type == "cpu":
        return tensor, None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return host, event


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
        "sizes": sizes_of(job),
    }


def sizes_of(job: Job) -> list[int]:
    """Samples there are, and those of an epoch: what a resumed run must find again."""
    return [len(job.dataset.samples), len(job.batches)]


def restore(job: Job, state: dict[str, Any]) -> None:
    """Put the job where a checkpoint was taken."""
    before, now = state["sizes"], sizes_of(job)
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
