"""Batch norm over the batch of all ranks, on the CPU too, where torch's SyncBatchNorm refuses to work.

N ranks with parts of a batch then train as one process with the whole batch does, up to float summation.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

# From so many values in a plane on, sums over planes take a third of the time of torch's own kernel.
_LARGE_PLANE = 16


def sync_batch_norms(model: nn.Module) -> nn.Module:
    """Let the batch norms of `model` see the batches of all ranks of torch.distributed's default group.

    On the CPU the layers change their class and nothing else: parameters, buffers, hooks, state dict and
    references to the layers stay. On a GPU they become torch's SyncBatchNorm, around the same tensors.
    Without a process group of several ranks nothing changes.

    Every rank then runs the same forward and backward passes in training mode; in evaluation mode they are
    free. Gradients of weights and biases are those of the rank's own samples: to be averaged over the ranks
    with the other parameters' (DistributedDataParallel does), with the rank's loss weighted by the number of
    its samples, times the ranks, over the number of all.

    Returns:
        The model itself; a new layer where the model is one batch norm on a GPU.
    """
    if not several_ranks():
        return model
    if any(parameter.is_cuda for parameter in model.parameters()):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for layer in model.modules():
        if type(layer) in _PLAIN:
            layer.__class__ = SyncedBatchNorm
    return model


def several_ranks() -> bool:
    """Whether this process is one of several in torch.distributed's default group."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return there and torch.distributed.get_world_size() > 1


@final
class SyncedBatchNorm(_BatchNorm):
    """nn.BatchNorm1d, 2d or 3d with the statistics of all ranks' samples, each of which has at least one.

    Its running statistics are equal on all ranks to the bit. In evaluation mode, and without other ranks (a
    copy in another process), it is plain batch norm.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected inputs (B, C, ...), not of shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(B_r, C, ...) of this rank -> the same, in the same dtype and memory format."""
        if not (self.training and several_ranks()):
            return super().forward(input)
        self._check_input_dim(input)
        mean, squares, count = combined(gathered(torch.cat(moments(input.detach()))))
        self._track(mean, squares / (count - 1))
        dtype = torch.promote_types(input.dtype, torch.float32)
        statistics = mean.to(dtype), (squares / count).to(dtype)
        return _Normalize.apply(input, self.weight, self.bias, *statistics, self.eps, count)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as plain batch norm does."""
        if self.num_batches_tracked is None or self.running_mean is None or self.running_var is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            running.copy_(running.double().lerp(new, step))


def moments(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), sum of squared deviations from it (C,) and number of values a channel (1,), as float64.

    Args:
        samples: (B, C, ...), any float; sums over half precision are made in float32.
    """
    count, plane = samples.numel() // samples.shape[1], samples[0, 0].numel()
    dtype = torch.promote_types(samples.dtype, torch.float32)
    if plane >= _LARGE_PLANE and samples.is_contiguous() and samples.dtype == dtype:
        rows = samples.flatten(2)
        mean = rows.sum(dim=2).double().sum(dim=0) / count
        deviations = rows - mean.to(dtype)[:, None]
        squares = torch.linalg.vector_norm(deviations, dim=2).double().square().sum(dim=0)
    else:
        running = samples.new_zeros(2, samples.shape[1], dtype=dtype)  # Not used; its dtype is the answer's.
        mean, variance = torch.batch_norm_update_stats(samples, running[0], running[1], 0.0)
        mean, squares = mean.double(), variance.double() * count
    return mean, squares, mean.new_tensor([count])


def gathered(own: Tensor) -> Tensor:
    """The vectors (n,) of all ranks in their order, (ranks, n): sums can then not depend on the network."""
    everything = own.new_empty(torch.distributed.get_world_size() * len(own))
    torch.distributed.all_gather_into_tensor(everything, own)
    return everything.view(-1, len(own))


def combined(table: Tensor) -> tuple[Tensor, Tensor, float]:
    """The moments of all samples together, from those of each rank (Chan, Golub, LeVeque 1979).

    Rank after rank, element by element: the same bits on every machine.

    Args:
        table: (ranks, 2 C + 1), the `moments` of each rank behind each other.

    Returns:
        Mean (C,), sum of squared deviations (C,), number of values a channel.
    """
    channels = table.shape[1] // 2
    mean, squares = torch.zeros_like(table[0, :channels]), torch.zeros_like(table[0, :channels])
    seen = 0.0
    for row, count in zip(table, table[:, -1].tolist(), strict=True):
        apart = row[:channels] - mean
        share = count / (seen + count)
        mean = mean + apart * share
        squares = squares + row[channels:-1] + apart.square() * (seen * share)
        seen += count
    return mean, squares, seen


class _Normalize(torch.autograd.Function):
    """Batch norm with given statistics, which themselves depend on the inputs of all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: float,
    ) -> Tensor:
        """As in evaluation mode."""
        ctx.save_for_backward(inputs, weight, mean, variance)
        ctx.eps, ctx.count = eps, count
        return F.batch_norm(inputs, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        """With x' = (x - mean) / σ, weight w and sums over all N values of a channel, of all ranks:

        dx = w / σ (dy - Σ dy / N) - x' w / σ Σ (dy x') / N.
        """
        inputs, weight, mean, variance = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            slopes, inputs, weight, None, None, mean, scale, True, ctx.eps, [False, True, True]
        )
        of_inputs = None
        if ctx.needs_input_grad[0]:
            # One rank after the other, not by an all-reduce, whose order is the network's.
            sums = sum(gathered(torch.cat([of_weight, of_bias]).double())) / ctx.count
            tilt, level = sums.to(mean.dtype).chunk(2)
            tilt = tilt * scale
            factor = tilt * scale if weight is None else tilt * scale * weight
            if inputs.dtype == mean.dtype:  # A temporary less
                of_inputs = F.batch_norm(slopes, level - mean * tilt, variance, weight, eps=ctx.eps)
                of_inputs.addcmul_(inputs, -factor.view(-1, *[1] * (inputs.ndim - 2)))
            else:  # Half precision would be rounded before the terms cancel.
                of_inputs = F.batch_norm(slopes, level, variance, weight, eps=ctx.eps)
                of_inputs -= F.batch_norm(inputs, mean, variance, factor / scale, eps=ctx.eps)
        needed = ctx.needs_input_grad
        return of_inputs, of_weight if needed[1] else None, of_bias if needed[2] else None, *[None] * 4
