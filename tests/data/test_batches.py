"""Every sample once an epoch, the same order from any start, and no thread left behind."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cce_ray.data import Batches
from cce_ray.data.device.batches import READ_AHEAD
from cce_ray.data.storage.samples import ArraySamples, MappedSamples


def numbered(count: int) -> ArraySamples:
    return ArraySamples(np.arange(2 * count, dtype=np.float32).reshape(count, 2))


def accept(block: np.ndarray, rows: np.ndarray) -> None:
    """Nothing to refuse."""


class FileSamples:
    """On disk as far as Batches can tell; notes how many reads there were."""

    array = None
    shape = (2,)
    dtype = np.dtype(np.float32)

    def __init__(
        self, count: int, broken_row: int | None = None, note: Callable[[int], None] | None = None
    ) -> None:
        self.inner = numbered(count)
        self.broken_row = broken_row
        self.note = note or (lambda reads: None)
        self.reads = 0
        self.read_once = threading.Condition()

    def __len__(self) -> int:
        return len(self.inner)

    def read(self, indices: np.ndarray) -> np.ndarray:
        with self.read_once:
            self.reads += 1
            self.note(self.reads)
            self.read_once.notify_all()
        if self.broken_row in indices:
            raise ValueError("data.path: row is damaged")
        return self.inner.read(indices)

    def wait_for(self, reads: int) -> None:
        with self.read_once:
            self.read_once.wait_for(lambda: self.reads >= reads)


def readers() -> int:
    return sum(thread.name == "cce-read-ahead" for thread in threading.enumerate())


@settings(max_examples=60)
@given(st.integers(1, 300), st.data(), st.booleans())
def test_an_epoch_holds_every_sample_once_in_near_equal_batches(
    count: int, data: st.DataObject, resident: bool
) -> None:
    batch_size = data.draw(st.integers(1, count))
    indices = np.flatnonzero(np.arange(count + 20) % 7 != 3)[:count]
    count = len(indices)
    batch_size = min(batch_size, count)
    samples = numbered(int(indices[-1]) + 1)
    batches = Batches(samples, indices, batch_size=batch_size, device="cpu", seed=3, resident=resident)
    seen = list(batches.epoch(0))
    sizes = [len(rows) for rows, _ in seen]
    assert len(seen) == batches.num_batches == -(-count // batch_size)
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat([rows for rows, _ in seen]).tolist()) == indices.tolist()
    for rows, inputs in seen:
        assert rows.dtype == torch.int64
        assert torch.equal(inputs[:, 0], 2.0 * rows)


def order(batches: Batches, epoch: int, start: int = 0) -> list[list[int]]:
    return [rows.tolist() for rows, _ in batches.epoch(epoch, start)]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def make(seed: int, resident: bool = True) -> Batches:
        return Batches(numbered(50), np.arange(50), batch_size=8, device="cpu", seed=seed, resident=resident)

    used = make(1)
    order(used, 0)
    assert order(used, 4) == order(make(1), 4) == order(make(1, resident=False), 4)
    assert order(used, 4) != order(used, 5)
    assert order(used, 4) != order(make(2), 4)


@pytest.mark.parametrize("resident", [True, False])
def test_an_epoch_resumes_at_any_batch(resident: bool) -> None:
    batches = Batches(numbered(50), np.arange(50), batch_size=8, device="cpu", seed=1, resident=resident)
    whole = order(batches, 2)
    for start in range(len(whole) + 1):
        assert order(batches, 2, start) == whole[start:]


@pytest.mark.parametrize("resident", [True, False])
def test_sequential_keeps_the_order(resident: bool) -> None:
    indices = np.array([5, 1, 9, 2, 7])
    batches = Batches(numbered(10), indices, batch_size=2, device="cpu", resident=resident)
    seen = list(batches.sequential(3))
    assert [rows.tolist() for rows, _ in seen] == [[5, 1, 9], [2, 7]]
    assert torch.equal(seen[1][1][:, 0], torch.tensor([4.0, 14.0]))
    assert [len(rows) for rows, _ in batches.sequential()] == [2, 2, 1]
    assert len(list(batches.sequential(5))) == 1


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^optimizer\.batch_size: 11 exceeds the 10 samples; lower it"):
        Batches(numbered(10), np.arange(10), batch_size=11, device="cpu")


def test_samples_in_memory_are_shared_not_copied() -> None:
    samples = numbered(10)
    batches = Batches(samples, np.arange(10), batch_size=5, device="cpu")
    assert batches.resident
    samples.array[3, 0] = -1
    _, inputs = next(iter(batches.sequential(10)))
    assert float(inputs[3, 0]) == -1


def test_files_stream_unless_told_otherwise_and_give_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 3)).astype(np.float16))
    samples = MappedSamples(np.load(tmp_path / "x.npy", mmap_mode="r"), accept)
    streamed = Batches(samples, np.arange(40), batch_size=7, device="cpu", seed=2)
    resident = Batches(samples, np.arange(40), batch_size=7, device="cpu", seed=2, resident=True)
    assert not streamed.resident and resident.resident
    for (rows, inputs), (same_rows, same_inputs) in zip(streamed.epoch(1), resident.epoch(1), strict=True):
        assert torch.equal(rows, same_rows) and torch.equal(inputs, same_inputs)
        assert inputs.dtype == torch.float32


def test_an_exception_of_the_reader_reaches_the_consumer_in_its_place() -> None:
    batches = Batches(FileSamples(20, broken_row=9), np.arange(20), batch_size=4, device="cpu")
    received = []
    with pytest.raises(ValueError, match="row is damaged"):
        for rows, _ in batches.sequential():
            received.append(rows.tolist())
    assert received == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert readers() == 0


def test_a_consumer_that_stops_early_ends_the_reader() -> None:
    samples = FileSamples(1000)
    epoch = Batches(samples, np.arange(1000), batch_size=2, device="cpu").epoch(0)
    next(epoch)
    assert readers() == 1
    epoch.close()  # type: ignore[attr-defined]
    assert readers() == 0
    assert samples.reads <= READ_AHEAD + 2


def test_an_exhausted_epoch_ends_the_reader() -> None:
    list(Batches(FileSamples(20), np.arange(20), batch_size=4, device="cpu").epoch(0))
    assert readers() == 0


def test_reading_runs_ahead_of_a_busy_consumer_by_a_bounded_number_of_batches() -> None:
    taken, ahead = 0, []

    def note(reads: int) -> None:
        ahead.append(reads - taken)

    samples = FileSamples(100, note=note)
    for _ in Batches(samples, np.arange(100), batch_size=1, device="cpu").epoch(0):
        taken += 1
        samples.wait_for(min(taken + READ_AHEAD, 100))  # else the device would wait for the disk
    # The reader may take a place before this loop has counted the batch that made it free.
    assert max(ahead) <= READ_AHEAD + 1, "memory would fill with batches"
