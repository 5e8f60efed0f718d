"""The two passes of `em_accelerated`'s jump as Numba kernels; their readable twins stand there."""

import math
from typing import NamedTuple

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR

SMALLEST_SHARE = 1e-3  # of its y², which an entry keeps whatever the jump


class Rows(NamedTuple):
    """The arrays with a row for every point: σ and three labels in succession."""

    probs: np.ndarray
    """σ, (M, K), float32 or float64; read only."""
    start: np.ndarray
    """y⁰, (M, K), of σ's dtype; `extrapolate` writes the extrapolated labels here."""
    middle: np.ndarray
    """y¹, (M, K), of σ's dtype; read only."""
    labels: np.ndarray
    """y², (M, K), of σ's dtype; read only."""


@compiled
def measure(share: int, first_block: int, last_block: int, rows: Rows, squares: np.ndarray) -> None:
    """‖r‖² and ‖v‖² for blocks first_block..last_block-1.

    Args:
        share: not used.
        first_block, last_block: the range of blocks.
        rows: all but probs are read.
        squares: (B, 2) float64 out.
    """
    _, start, middle, labels = rows
    for b in range(first_block, last_block):
        first = 0.0
        second = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, labels.shape[0])):
            for k in range(labels.shape[1]):
                before = np.float64(middle[i, k]) - np.float64(start[i, k])
                turn = np.float64(labels[i, k]) - np.float64(middle[i, k]) - before
                first += before * before
                second += turn * turn
        squares[b, 0] = first
        squares[b, 1] = second


@compiled
def extrapolate(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    step: np.ndarray,
    tiny: float,
    sums: np.ndarray,
    values: np.ndarray,
) -> None:
    """y⁰ + 2 s r + s² v, on the simplex, for blocks first_block..last_block-1.

    Args:
        share: not used.
        first_block, last_block: the range of blocks.
        rows: start is written.
        step: s, (1,), float64.
        tiny: the smallest normal number of y's type.
        sums: (B, K) float64 out: Σ of the extrapolated labels.
        values: (B, 2) float64 out: Σ -ln σᵀy at y² and at the extrapolated labels.
    """
    probs, start, middle, labels = rows
    once = 2.0 * step[0]
    twice = step[0] * step[0]
    for b in range(first_block, last_block):
        for k in range(labels.shape[1]):
            sums[b, k] = 0.0
        values[b, 0] = 0.0
        values[b, 1] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, labels.shape[0])):
            total = 0.0
            for k in range(labels.shape[1]):
                old = np.float64(start[i, k])
                before = np.float64(middle[i, k]) - old
                new = np.float64(labels[i, k])
                jumped = old + once * before + twice * (new - np.float64(middle[i, k]) - before)
                floor = larger(SMALLEST_SHARE * new, tiny) if new > 0.0 else 0.0
                jumped = larger(jumped, floor)
                start[i, k] = jumped
                total += jumped
            factor = 1.0 / total
            here = 0.0
            there = 0.0
            for k in range(labels.shape[1]):
                jumped = np.float64(start[i, k]) * factor
                start[i, k] = jumped
                sums[b, k] += np.float64(start[i, k])
                here += np.float64(probs[i, k]) * np.float64(labels[i, k])
                there += np.float64(probs[i, k]) * jumped
            values[b, 0] -= math.log(max(here, LOG_FLOOR))
            values[b, 1] -= math.log(max(there, LOG_FLOOR))
