"""A trial of projected gradients in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.kernels.pgd import Rows
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, HIT_FLOOR, LOG_FLOOR


def pgd_blocks_reference(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    prices: np.ndarray,
    step: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """`kernels.pgd.pgd_blocks` in plain NumPy: the same arguments, no scratch."""
    probs, labels, trial, known = rows
    for b in range(first_block, last_block):
        block = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        sigma, old = probs[block].astype(np.float64), labels[block].astype(np.float64)
        hit = (sigma * old).sum(axis=1)
        moved = old + step[0] * (sigma / np.maximum(hit, HIT_FLOOR)[:, None] + prices)
        free = known[block] < 0
        trial[block] = np.where(free[:, None], project_simplex_reference(moved), old)
        new = trial[block].astype(np.float64)
        new_hit = (sigma * new).sum(axis=1)
        turn = np.where(free, new_hit - hit, 0.0)
        partials[b] = [
            *new.sum(axis=0),
            -np.log(np.maximum(new_hit, LOG_FLOOR)).sum(),
            (turn / np.maximum(hit, HIT_FLOOR)).sum(),
            (turn / np.maximum(new_hit, HIT_FLOOR)).sum(),
            ((new - old) ** 2).sum(),
            np.abs(new - old).max(),
        ]


def project_simplex_reference(points: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex for every row of `points`, (B, K), by sorting."""
    falling = -np.sort(-points, axis=1)
    thresholds = (np.cumsum(falling, axis=1) - 1) / np.arange(1, points.shape[1] + 1)
    last = (falling > thresholds).sum(axis=1) - 1
    nearest: np.ndarray = np.maximum(points - np.take_along_axis(thresholds, last[:, None], axis=1), 0.0)
    return nearest
