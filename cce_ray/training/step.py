"""One step of training: predictions, pseudo-labels, loss, update."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cce_ray.data import augment, to_device
from cce_ray.methods import Step
from cce_ray.training.job import Job
from cce_ray.training.labelling import BatchProbs
from cce_ray.training.ranks import share_sizes
from cce_ray.training.shared_batch import SharedBatch
from cce_ray.training.supervising import Supervision

_SECOND_DRAW = 1_000_003
"""Between the augmentation seeds of two draws of one epoch: further apart than any run's seeds."""


def training_step(job: Job, indices: Tensor, inputs: Tensor) -> None:
    """Predictions, pseudo-labels, loss, update: one pass of Algorithm 2's inner loop.

    `indices` (B,) are those of the whole batch, `inputs` (b, *shape) this rank's part of it.
    """
    ranks, method = job.context.ranks, job.config.method
    own = job.batches.own(len(indices))
    seen = disturbed(job, indices[own], inputs, draw=1) if method.both_views_augmented else inputs
    logits, extra = _outputs_of(job, seen)
    predicted = ranks.gather(torch.softmax(logits.detach(), 1), share_sizes(len(indices), ranks.size))
    probs, copied = _to_host(predicted)

    @lru_cache(maxsize=1)
    def settle() -> None:
        if copied:
            copied.synchronize()
        _check_finite(job, probs)

    pending = None
    if job.labeller:
        known = job.supervision.of(indices) if job.supervision else None
        pending = job.labeller.submit(BatchProbs(indices, predicted, probs, own, settle, known), job.prior)
    # Before the pseudo-labels are there: a GPU computes this, or a helper them, meanwhile.
    augmented, augmented_extra = None, None
    if method.wants_augmented_view:
        augmented, augmented_extra = _outputs_of(job, disturbed(job, indices[own], inputs))
    neighbour_logits = None
    if job.neighbours is not None:
        neighbour_logits, _ = _outputs_of(job, job.batches.read(_drawn_neighbours(job, indices)[own]))
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
        inputs=partial(job.model.normalize, seen),
        predict=partial(_logits_of_normalized, job),
        progress=job.step / job.total_steps,
        shared=SharedBatch(ranks, own, len(indices)) if ranks.size > 1 else None,
    )
    parts = method.loss(step)
    # The gradients' mean over the ranks is that of the whole batch's mean loss.
    weight = len(inputs) * ranks.size / len(indices)
    loss = weight * torch.stack(list(parts.values())).sum()
    if job.supervision:
        taught = _supervised_loss(job, job.supervision)
        parts = parts | {"supervised": taught.detach() / weight}  # of which the watch takes b / B
        loss = loss + taught
    update(job, loss)
    iterations = job.estimated.progress[0] if job.estimated else 0
    job.watch.add(indices.numpy(), probs.numpy(), parts, len(inputs), iterations)
    job.prior = job.config.pseudo_labels.next_prior(job.prior, probs.numpy(), job.step / job.total_steps)


def _outputs_of(job: Job, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits (b, K) of samples, and those of the extra head, if there is one."""
    with autocast(job):
        outputs = job.forward(inputs).float()
    if job.model.extra_head is None:
        return outputs, None
    return outputs[:, : job.model.num_clusters], outputs[:, job.model.num_clusters :]


def _logits_of_normalized(job: Job, inputs: Tensor) -> Tensor:
    """Logits (b, K) of normalised samples, in the precision of `_outputs_of`: the two are compared."""
    with autocast(job):
        return job.model.logits_of_normalized(inputs).float()


def disturbed(job: Job, indices: Tensor, inputs: Tensor, draw: int = 0) -> Tensor:
    """The augmented copies of samples `indices` (b,), of the epoch's draw number `draw`."""
    return augment(
        inputs,
        to_device(indices, job.context.device),
        settings=job.config.augmentation,
        seed=job.config.runtime.seed + draw * _SECOND_DRAW,
        epoch=job.epoch,
        shift=job.model.shift,
        scale=job.model.scale,
    )


def _drawn_neighbours(job: Job, indices: Tensor) -> np.ndarray:
    """(B,) int64: a neighbour of each sample of a batch, of the epoch's own draw."""
    assert job.neighbours is not None
    generator = np.random.default_rng([job.config.runtime.seed, job.epoch, job.batch, 5])
    places = np.searchsorted(job.dataset.train_indices, indices.numpy())
    drawn: np.ndarray = job.neighbours[places, generator.integers(job.neighbours.shape[1], size=len(places))]
    return drawn


def _supervised_loss(job: Job, supervision: Supervision) -> Tensor:
    """weight · mean cross-entropy of the step's samples with known labels, augmented like the others."""
    rows, inputs, labels, factor = supervision.draw(job.step)
    if job.config.method.wants_augmented_view or job.config.method.needs_known_labels:
        inputs = disturbed(job, rows, inputs)
    logits, _ = _outputs_of(job, inputs)
    return factor * F.cross_entropy(logits, labels)


def _check_finite(job: Job, probs: Tensor) -> None:
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


def _to_host(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """The tensor itself on the CPU; else a pinned copy, complete once the event has been waited for."""
    if tensor.device.type == "cpu":
        return tensor, None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return host, event
