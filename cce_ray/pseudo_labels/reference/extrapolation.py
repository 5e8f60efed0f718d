"""The extrapolation of EM in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.kernels.extrapolation import SMALLEST_SHARE, Rows
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR


def measure_reference(share: int, first_block: int, last_block: int, rows: Rows, squares: np.ndarray) -> None:
    """`kernels.extrapolation.measure` in plain NumPy."""
    for b in range(first_block, last_block):
        block = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        _, y0, y1, y2 = (array[block].astype(np.float64) for array in rows)
        squares[b] = [((y1 - y0) ** 2).sum(), ((y2 - 2 * y1 + y0) ** 2).sum()]


def extrapolate_reference(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    step: np.ndarray,
    tiny: float,
    sums: np.ndarray,
    values: np.ndarray,
) -> None:
    """`kernels.extrapolation.extrapolate` in plain NumPy."""
    start = Rows(*rows).start
    for b in range(first_block, last_block):
        block = slice(b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS)
        sigma, y0, y1, y2 = (array[block].astype(np.float64) for array in rows)
        jumped = y0 + 2 * step[0] * (y1 - y0) + step[0] ** 2 * (y2 - 2 * y1 + y0)
        floor = np.where(y2 > 0, np.maximum(SMALLEST_SHARE * y2, tiny), 0.0)
        jumped = np.maximum(jumped, floor)
        start[block] = jumped / jumped.sum(axis=1, keepdims=True)
        sums[b] = start[block].sum(axis=0, dtype=np.float64)
        hits = [(sigma * y).sum(axis=1) for y in (y2, start[block].astype(np.float64))]
        values[b] = [-np.log(np.maximum(hit, LOG_FLOOR)).sum() for hit in hits]
