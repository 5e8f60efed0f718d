"""A trial of mirror descent in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.kernels.mirror import Rows
from cce_ray.pseudo_labels.problem import BLOCK_ROWS


def mirror_blocks_reference(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    control: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """`kernels.mirror.mirror_blocks` in plain NumPy: the same arguments, no scratch."""
    logs, start_logs, labels, normalizers, trial, trial_normalizers, known = rows
    for b in range(first_block, last_block):
        block = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        free = known[block] < 0
        exponents = start_logs[block] + control[0, -1] * logs[block] + control[0, :-1]
        peak = exponents.max(axis=1)
        normalizer = peak + np.log(np.exp(exponents - peak[:, None]).sum(axis=1))
        new = np.exp(exponents - normalizer[:, None])
        gain = (new * (control[1, -1] * logs[block] + control[1, :-1])).sum(axis=1)
        divergence = np.where(free, np.maximum(gain - (normalizer - normalizers[block]), 0.0), 0.0)
        old = labels[block].astype(np.float64)
        new = np.where(free[:, None], new, old)
        trial_normalizers[block] = np.where(free, normalizer, trial_normalizers[block])
        trial[block] = new
        partials[b] = [*new.sum(axis=0), divergence.sum(), np.abs(new - old).max()]
