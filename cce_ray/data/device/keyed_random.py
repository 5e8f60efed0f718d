"""Random numbers without state: a hash of who asks, so that batches, devices and resumes cannot change them.

The hash is splitmix64's finaliser (Steele, Lea, Flood 2014), which passes BigCrush on counters.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_MASK = (1 << 64) - 1


def keyed_uniforms(seed: int, epoch: int, sample_ids: Tensor, draws: int, *, stream: int = 0) -> Tensor:
    """Uniform numbers that depend on nothing but (seed, epoch, stream, sample id, column).

    Args:
        seed, epoch, stream: any integers; streams serve unrelated consumers of one (seed, epoch).
        sample_ids: (B,) int64, on any device.
        draws: the number of columns.

    Returns:
        (B, draws) float32 in [0, 1), multiples of 2^-24, on the device of ``sample_ids``; the same on every
        device, and a column does not change when ``draws`` does.
    """
    # Two numbers per 64-bit hash: integer products are the cost here, and 24 of 32 bits fill a float32.
    counters = _signed_multiples(-(-draws // 2), sample_ids.device)
    rows = _mix(sample_ids.unsqueeze(1) * _signed(GAMMA) + _signed(_key(seed, epoch, stream)))
    bits = _mix(rows + counters)
    high, low = (bits >> 40) & 0xFFFFFF, bits & 0xFFFFFF
    pairs = torch.stack((high, low), dim=2).flatten(start_dim=1)[:, :draws]
    return pairs.to(torch.float32) * 2.0**-24


def keyed_uniforms_reference(
    seed: int, epoch: int, sample_ids: np.ndarray, draws: int, *, stream: int = 0
) -> np.ndarray:
    """The plain twin of ``keyed_uniforms`` in Python's unbounded integers: (B, draws) float32."""
    out = np.empty((len(sample_ids), draws), dtype=np.float32)
    key = _key(seed, epoch, stream)
    for row, sample_id in enumerate(sample_ids):
        row_key = _mix_integer((int(sample_id) * GAMMA + key) & _MASK)
        for column in range(draws):
            bits = _mix_integer((row_key + (column // 2 + 1) * GAMMA) & _MASK)
            out[row, column] = ((bits >> 40) if column % 2 == 0 else bits & 0xFFFFFF) * 2.0**-24
    return out


def _key(seed: int, epoch: int, stream: int) -> int:
    """One 64-bit key; each word is mixed before the next enters, so that (1, 2) and (2, 1) differ."""
    key = 0
    for word in (seed, epoch, stream):
        key = _mix_integer((key + word * GAMMA + GAMMA) & _MASK)
    return key


def _mix_integer(value: int) -> int:
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        value = ((value ^ (value >> shift)) * factor) & _MASK
    return value ^ (value >> _SHIFTS[2])


def _mix(values: Tensor) -> Tensor:
    """The same on int64 tensors: products wrap; the mask makes the arithmetic shift a logical one."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        values = (values ^ ((values >> shift) & ((1 << (64 - shift)) - 1))).mul_(_signed(factor))
    return values ^ ((values >> _SHIFTS[2]) & ((1 << (64 - _SHIFTS[2])) - 1))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _signed_multiples(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(GAMMA)
