"""The processes that train one network together, and the little that they exchange."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from cce_ray.data import share
from cce_ray.models import Classifier

Forward = Callable[[Tensor], Tensor]


class Ranks(Protocol):
    """Processes 0 to size - 1, each with an equal copy of the network and its own share of every batch.

    Whatever one of them calls, all call, in the same order.
    """

    rank: int
    size: int

    def wrap(self, model: Classifier, forward: Forward) -> Forward:
        """A forward pass whose gradients are the means over the ranks, from `forward`, that of `model`."""

    def gather(self, own: Tensor, counts: list[int]) -> Tensor:
        """The rows of all ranks in their order, (sum of counts, ...); `own` has counts[rank] of them."""

    def decide(self, wish: bool) -> Callable[[], bool]:
        """Ask rank 0; what is returned gives its wish to every rank, and may wait for it."""

    def texts(self, own: str) -> list[str]:
        """What every rank has to say, in their order."""


def share_sizes(count: int, size: int) -> list[int]:
    """How many of `count` things each of `size` ranks has."""
    parts = [share(count, rank, size) for rank in range(size)]
    return [part.stop - part.start for part in parts]


@final
class Alone:
    """One process."""

    rank, size = 0, 1

    def wrap(self, model: Classifier, forward: Forward) -> Forward:
        """The forward pass itself."""
        return forward

    def gather(self, own: Tensor, counts: list[int]) -> Tensor:
        """The rows themselves."""
        return own

    def decide(self, wish: bool) -> Callable[[], bool]:
        """The wish itself."""
        return lambda: wish

    def texts(self, own: str) -> list[str]:
        """One."""
        return [own]


@final
class ProcessGroup:
    """torch.distributed's default group: gloo for the CPU, and nccl beside it where the network is on a GPU.

    torchrun starts one, and so does Ray Train.
    """

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def wrap(self, model: Classifier, forward: Forward) -> Forward:
        """DistributedDataParallel, its buckets in their final order.

        DDP reorders its buckets after the first backward pass. With three ranks or more the order of a sum
        depends on where in a bucket a gradient lies; a first pass that counts for nothing makes a resumed run
        add as the uninterrupted one did. Its one sample must leave no trace in batch norms, and must pass
        through an extra head: only the classifier itself is in training mode.
        """
        from torch.nn.parallel import DistributedDataParallel

        module = forward if isinstance(forward, nn.Module) else model
        with warnings.catch_warnings():  # newer releases have another word for what older ones do not know
            warnings.filterwarnings("ignore", message="`broadcast_buffers`", category=FutureWarning)
            wrapped = DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)
        wrapped.eval()
        model.training = True
        wrapped(torch.zeros((1, *model.input_shape), device=model.shift.device)).sum().backward()
        wrapped.zero_grad(set_to_none=True)
        wrapped.train()
        return wrapped

    def gather(self, own: Tensor, counts: list[int]) -> Tensor:
        """Padded to the largest count: the collective wants equal sizes."""
        most = max(counts)
        padded = own
        if len(own) < most:
            padded = torch.cat([own, own.new_zeros((most - len(own), *own.shape[1:]))])
        everything = own.new_empty((self.size * most, *own.shape[1:]))
        torch.distributed.all_gather_into_tensor(everything, padded.contiguous())
        if min(counts) == most:
            return everything
        parts = everything.split(most)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def decide(self, wish: bool) -> Callable[[], bool]:
        """A broadcast that travels while the caller goes on."""
        flag = torch.tensor([float(wish)])
        work = torch.distributed.broadcast(flag, src=0, async_op=True)

        assert work

        def decided() -> bool:
            work.wait()
            return bool(flag.item())

        return decided

    def texts(self, own: str) -> list[str]:
        """By pickles of text."""
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, own)
        return [str(text) for text in found]
