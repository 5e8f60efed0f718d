"""A trial of mirror descent in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.problem import BLOCK_ROWS


def mirror_blocks_reference(
    share: int,
    first_block: int,
    last_block: int,
    logs: np.ndarray,
    start_logs: np.ndarray,
    labels: np.ndarray,
    trial: np.ndarray,
    normalizers: np.ndarray,
    trial_normalizers: np.ndarray,
    known: np.ndarray,
    control: np.ndarray,
    partials: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """`kernels.mirror.mirror_blocks` in plain NumPy: the same arguments, no scratch."""
    for b in range(first_block, last_block):
        rows = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        free = known[rows] < 0
        exponents = start_logs[rows] + control[0, -1] * logs[rows] + control[0, :-1]
        peak = exponents.max(axis=1)
        normalizer = peak + np.log(np.exp(exponents - peak[:, None]).sum(axis=1))
        new = np.exp(exponents - normalizer[:, None])
        gain = (new * (control[1, -1] * logs[rows] + control[1, :-1])).sum(axis=1)
        divergence = np.where(free, np.maximum(gain - (normalizer - normalizers[rows]), 0.0), 0.0)
        old = labels[rows].astype(np.float64)
        new = np.where(free[:, None], new, old)
        trial_normalizers[rows] = np.where(free, normalizer, trial_normalizers[rows])
        trial[rows] = new
        partials[b] = [*new.sum(axis=0), divergence.sum(), np.abs(new - old).max()]
