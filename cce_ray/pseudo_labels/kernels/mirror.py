"""One mirror-descent trial as a Numba kernel; `reference.mirror` holds its readable twin."""

import math
from typing import NamedTuple

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS


class Rows(NamedTuple):
    """The arrays with a row for every point."""

    logs: np.ndarray
    """ln σ, (M, K), float64, finite; read only."""
    start_logs: np.ndarray
    """ln y⁰, (M, K), float64; -inf where the start is zero; read only."""
    labels: np.ndarray
    """The present y, (M, K), float32 or float64; read only."""
    normalizers: np.ndarray
    """The log-sum-exp of the present y, (M,), float64; read only."""
    trial: np.ndarray
    """(M, K), of y's dtype, out."""
    trial_normalizers: np.ndarray
    """The log-sum-exp of the trial, (M,), float64, out."""
    known: np.ndarray
    """(M,), int64: rows to copy where >= 0; read only."""


@compiled
def mirror_blocks(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    control: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """trial = softmax(ln y⁰ + T ln σ + P) row by row, for blocks first_block..last_block-1.

    Args:
        share: whose scratch to use.
        first_block, last_block: the range of blocks.
        rows: trial and trial_normalizers are written.
        control: (2, K + 1), float64: P then T; the last step's part of both, η p then η.
        scratch: (shares, K) float64.
        partials: (B, K + 2) float64 out: Σ trial, Σ_i KL(trial_i ‖ y_i), max |Δy|.
    """
    rows = Rows(*rows)
    logs, start_logs, labels, normalizers, trial, trial_normalizers, known = rows
    num_clusters = logs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + 2):
            partials[b, c] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, logs.shape[0])):
            if known[i] >= 0:
                for k in range(num_clusters):
                    trial[i, k] = labels[i, k]
                partials[b, known[i]] += 1.0
            else:
                total, peak = _exponentials(i, logs, start_logs, control, scratch[share])
                trial_normalizers[i] = peak + math.log(total)
                shift = trial_normalizers[i] - normalizers[i]
                _store(b, i, 1.0 / total, shift, rows, control, scratch[share], partials)


@inlined
def _exponentials(
    i: int, logs: np.ndarray, start_logs: np.ndarray, control: np.ndarray, scratch: np.ndarray
) -> tuple[float, float]:
    """Write exp(e_k - max e) to the scratch; return its sum and max e."""
    num_clusters = logs.shape[1]
    peak = -math.inf
    for k in range(num_clusters):
        exponent = start_logs[i, k] + control[0, num_clusters] * logs[i, k] + control[0, k]
        scratch[k] = exponent
        peak = larger(peak, exponent)
    total = 0.0
    for k in range(num_clusters):
        power = scratch[k] - peak
        # exp underflows to denormals, which are slow, just above where it becomes zero anyway.
        scratch[k] = math.exp(power) if power > -700.0 else 0.0
        total += scratch[k]
    return total, peak


@inlined
def _store(
    b: int,
    i: int,
    factor: float,
    shift: float,
    rows: Rows,
    control: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """Write the row; KL(trial ‖ y) = Σ trial · (η ln σ + η p) - the change of the log-sum-exp."""
    logs, labels, trial = rows.logs, rows.labels, rows.trial
    num_clusters = logs.shape[1]
    gain = 0.0
    largest = 0.0
    for k in range(num_clusters):
        share = scratch[k] * factor
        gain += share * (control[1, num_clusters] * logs[i, k] + control[1, k])
        largest = larger(largest, abs(share - np.float64(labels[i, k])))
        trial[i, k] = share
        partials[b, k] += share
    partials[b, num_clusters] += max(gain - shift, 0.0)
    partials[b, num_clusters + 1] = max(partials[b, num_clusters + 1], largest)
