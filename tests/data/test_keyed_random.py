"""Randomness without state: who asks decides, nothing else does, and the numbers are good."""

import numpy as np
import pytest
import torch
from scipy import stats

from cce_ray.data.device.keyed_random import keyed_uniforms, keyed_uniforms_reference

IDS = torch.arange(4000)


@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, 0), (1, 2, 3), (-5, 10**12, 0), (2**80, 0, 1)])
@pytest.mark.parametrize("draws", [1, 2, 7])
def test_the_kernel_agrees_with_its_plain_twin(seed: int, epoch: int, stream: int, draws: int) -> None:
    ids = torch.tensor([0, 1, 2, 59_999, 2**40, 2**62])
    kernel = keyed_uniforms(seed, epoch, ids, draws, stream=stream)
    twin = keyed_uniforms_reference(seed, epoch, ids.numpy(), draws, stream=stream)
    assert kernel.dtype == torch.float32 and kernel.shape == (6, draws)
    assert np.array_equal(kernel.numpy(), twin)


def test_a_known_value_of_splitmix64_anchors_the_hash() -> None:
    # The first output of splitmix64 from state 0.
    from cce_ray.data.device.keyed_random import GAMMA, _mix_integer

    assert _mix_integer(GAMMA) == 0xE220A8397B1DCDAF


def test_a_sample_keeps_its_numbers_in_any_batch_and_for_any_number_of_columns() -> None:
    whole = keyed_uniforms(7, 3, IDS, 9)
    shuffled = IDS[torch.randperm(len(IDS), generator=torch.Generator().manual_seed(0))][:100]
    assert torch.equal(keyed_uniforms(7, 3, shuffled, 9), whole[shuffled])
    assert torch.equal(keyed_uniforms(7, 3, IDS, 4), whole[:, :4])


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = keyed_uniforms(0, 0, IDS[:10], 3)
    torch.manual_seed(2)
    assert torch.equal(first, keyed_uniforms(0, 0, IDS[:10], 3))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_every_column_is_uniform_on_the_half_open_interval() -> None:
    uniforms = keyed_uniforms(0, 0, IDS, 6).numpy()
    assert uniforms.min() >= 0 and uniforms.max() < 1
    for column in uniforms.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    # The low bits count too: multiples of 2^-24, evenly odd and even.
    odd = (uniforms.astype(np.float64) * 2**24).astype(np.int64) & 1
    assert abs(odd.mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    "other",
    [
        keyed_uniforms(0, 0, IDS + 1, 2),
        keyed_uniforms(1, 0, IDS, 2),
        keyed_uniforms(0, 1, IDS, 2),
        keyed_uniforms(0, 0, IDS, 2, stream=1),
        keyed_uniforms(0, 0, IDS, 4)[:, 2:],
        keyed_uniforms(0, 0, IDS, 2).flip(1),
    ],
    ids=["neighbour", "seed", "epoch", "stream", "later column", "the other of a pair"],
)
def test_neighbouring_keys_are_independent(other: torch.Tensor) -> None:
    one = keyed_uniforms(0, 0, IDS, 2).numpy()
    for left, right in zip(one.T, other.numpy().T, strict=True):
        assert abs(np.corrcoef(left, right)[0, 1]) < 4 / np.sqrt(len(IDS))
        cells, _, _ = np.histogram2d(left, right, bins=8, range=[[0, 1], [0, 1]])
        assert stats.chisquare(cells.ravel()).pvalue > 1e-4


def test_swapped_seed_and_epoch_give_other_numbers() -> None:
    assert not torch.equal(keyed_uniforms(1, 2, IDS, 1), keyed_uniforms(2, 1, IDS, 1))
