"""Batches of raw samples on the device: resident data by indexing, larger data read ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from cce_ray.data.device.tensors import as_tensor
from cce_ray.data.storage.samples import Samples, decoded_bytes

Batch = tuple[Tensor, Tensor]

READ_AHEAD = 3
"""Batches that wait, ready, for the consumer: enough to smooth a slow read, few enough for any memory."""
_DEVICE_SHARE = 0.4
"""Share of the free device memory that resident samples may take."""
_UPLOAD_BYTES = 256 * 2**20
"""Resident samples are read and sent in pieces of this size."""

# Training and evaluation read the same samples: one copy on a device serves both.
_resident: WeakKeyDictionary[Samples, dict[torch.device, Tensor]] = WeakKeyDictionary()


@final
class Batches:
    """Every sample of ``indices`` once an epoch, in batches whose sizes differ by at most one.

    Args:
        samples: the source.
        indices: (n,) int64 rows of ``samples``.
        batch_size: the largest batch.
        device: where inputs are wanted.
        seed: with the epoch it alone decides the order.
        resident: keep all samples on the device; "auto": where they fit (CUDA), where they lie in RAM
            anyway (CPU).
        share: (rank, size): of every batch of an epoch only the rank's part is read; the ranks' parts, in
            order, make up the batch.

    Raises:
        ValueError: ``batch_size`` exceeds the number of samples, or a rank would get an empty part.
    """

    def __init__(
        self,
        samples: Samples,
        indices: np.ndarray,
        *,
        batch_size: int,
        device: str | torch.device,
        seed: int = 0,
        resident: bool | Literal["auto"] = "auto",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size > len(indices):
            raise ValueError(
                f"optimizer.batch_size: {batch_size} exceeds the {len(indices)} samples; lower it to that"
            )
        assert batch_size > 0
        self.batch_size = batch_size
        self.num_batches = -(-len(indices) // batch_size)
        smallest_batch(len(indices), batch_size, share[1])
        self._share = share
        self._samples = samples
        self._indices = np.ascontiguousarray(indices, dtype=np.int64)
        self._device = torch.device(device)
        self._seed = seed
        keep = _fits(samples, self._device) if resident == "auto" else resident
        self._inputs = _on_device(samples, self._device) if keep else None

    @property
    def resident(self) -> bool:
        """Whether the samples lie on the device."""
        return self._inputs is not None

    def __len__(self) -> int:
        return len(self._indices)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """(indices (B,) int64 on the CPU, inputs (b, *shape) on the device) from batch ``start`` on.

        The indices are those of the whole batch; the inputs those of this rank's part, ``own(B)``. The order
        is a function of (seed, epoch) alone, so that an epoch resumes exactly at any batch, on any number of
        ranks.
        """
        order = np.random.default_rng([self._seed, epoch]).permutation(self._indices)
        bounds = len(order) * np.arange(self.num_batches + 1) // self.num_batches
        wholes = [order[first:last] for first, last in pairwise(bounds[start:])]
        parts = self._batches([whole[self.own(len(whole))] for whole in wholes])
        for whole, (_, inputs) in zip(wholes, parts, strict=True):
            yield torch.from_numpy(whole), inputs

    def read(self, rows: np.ndarray) -> Tensor:
        """Samples `rows` (n,) int64 of the source, (n, *shape), on the device."""
        if self._inputs is not None:
            return self._inputs.index_select(0, to_device(torch.from_numpy(rows), self._device))
        return to_device(as_tensor(self._samples.read(rows)), self._device)

    def own(self, count: int) -> slice:
        """This rank's part of a batch of ``count``."""
        return share(count, *self._share)

    def sequential(self, batch_size: int | None = None) -> Iterator[Batch]:
        """The same pairs in the order of ``indices``, for evaluation; the last batch may be smaller."""
        size = batch_size or self.batch_size
        bounds = np.append(np.arange(0, len(self._indices), size), len(self._indices))
        return self._batches([self._indices[first:last] for first, last in pairwise(bounds)])

    def _batches(self, parts: list[np.ndarray]) -> Iterator[Batch]:
        if self._inputs is None:
            yield from self._streamed(parts)
            return
        for part in parts:
            rows = torch.from_numpy(part)
            yield rows, self._inputs.index_select(0, to_device(rows, self._device))

    def _streamed(self, parts: list[np.ndarray]) -> Iterator[Batch]:
        pinned = self._device.type == "cuda"

        def read(part: np.ndarray) -> Tensor:
            block = torch.from_numpy(self._samples.read(part))
            return block.pin_memory() if pinned else block

        for part, block in _read_ahead(read, parts):
            yield torch.from_numpy(part), block.to(self._device, non_blocking=pinned)


def share(count: int, rank: int, size: int) -> slice:
    """The rank's part of ``count`` things; the ranks' parts differ by one thing at most."""
    return slice(count * rank // size, count * (rank + 1) // size)


def smallest_batch(num_samples: int, batch_size: int, ranks: int = 1) -> int:
    """Samples of an epoch's smallest batch; ValueError if it has none for one of the ranks."""
    size = num_samples // -(-num_samples // batch_size)
    if size < ranks:
        raise ValueError(
            f"runtime.workers: {ranks} workers for batches of {size} samples; use fewer workers or a larger "
            "optimizer.batch_size"
        )
    return size


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``, by way of pinned memory: from pageable memory the copy would wait
    for everything that a GPU has still to do, and the host would queue nothing meanwhile."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _read_ahead(
    read: Callable[[np.ndarray], Tensor], parts: list[np.ndarray], depth: int = READ_AHEAD
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """(part, read(part)) in order, computed up to ``depth`` parts ahead by one background thread.

    An exception of ``read`` is raised here, in the consumer. The thread ends when the parts do, and also when
    the consumer stops early.
    """
    ready: queue.Queue[tuple[np.ndarray, Tensor | BaseException]] = queue.Queue()
    places = threading.Semaphore(depth)
    stopped = threading.Event()

    def produce() -> None:
        for part in parts:
            places.acquire()
            if stopped.is_set():
                return
            try:
                ready.put((part, read(part)))
            except BaseException as error:  # Whatever it is, it belongs to the consumer.
                ready.put((part, error))
                return

    thread = threading.Thread(target=produce, name="cce-read-ahead", daemon=True)
    thread.start()
    try:
        for _ in parts:
            part, block = ready.get()
            places.release()
            if isinstance(block, BaseException):
                raise block
            yield part, block
    finally:
        stopped.set()
        places.release()
        thread.join()


def _fits(samples: Samples, device: torch.device) -> bool:
    if device.type != "cuda":
        return samples.array is not None
    if device in _resident.get(samples, {}):
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return decoded_bytes(samples) <= _DEVICE_SHARE * free


def _on_device(samples: Samples, device: torch.device) -> Tensor:
    """All samples, (N, *shape), on ``device``; shared with the array in RAM when that is the CPU."""
    if device.type == "cpu" and samples.array is not None:
        return as_tensor(samples.array)
    copies = _resident.setdefault(samples, {})
    if device not in copies:
        copies[device] = _upload(samples, device)
    return copies[device]


def _upload(samples: Samples, device: torch.device) -> Tensor:
    dtype = torch.uint8 if samples.dtype == np.uint8 else torch.float32
    target = torch.empty((len(samples), *samples.shape), dtype=dtype, device=device)
    rows = max(1, _UPLOAD_BYTES * len(samples) // max(1, decoded_bytes(samples)))
    for start in range(0, len(samples), rows):
        block = np.arange(start, min(start + rows, len(samples)))
        target[start : start + rows] = torch.from_numpy(samples.read(block))
    return target
