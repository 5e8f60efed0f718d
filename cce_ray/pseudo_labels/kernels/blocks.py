"""Kernels that every solver shares: row checks, the start, the block sums, the value of the data term."""

import math

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, compiled_for_nan, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR

ROW_FINE, ROW_NOT_FINITE, ROW_NEGATIVE, ROW_SUM = 0, 1, 2, 3


@compiled_for_nan
def start_rows(source: np.ndarray, floor: float, tolerance: float, labels: np.ndarray) -> tuple[int, int]:
    """Check the rows of `source` and write max(source, floor), normalised, to `labels`.

    Returns (ROW_*, row): what is wrong with the first bad row, or (ROW_FINE, -1).
    """
    for i in range(source.shape[0]):
        total = 0.0
        negative = 0.0
        for k in range(source.shape[1]):
            total += np.float64(source[i, k])
            negative += 1.0 if source[i, k] < 0.0 else 0.0
        if not abs(total - 1.0) <= tolerance or negative > 0.0:
            return _fault(source, i), i
        lifted = 0.0
        for k in range(source.shape[1]):
            lifted += larger(np.float64(source[i, k]), floor)
        factor = 1.0 / lifted
        for k in range(source.shape[1]):
            labels[i, k] = larger(np.float64(source[i, k]), floor) * factor
    return ROW_FINE, -1


@compiled_for_nan
def _fault(source: np.ndarray, i: int) -> int:
    """What is wrong with a row that is no distribution: what its first bad entry says, else its sum."""
    for k in range(source.shape[1]):
        if not math.isfinite(source[i, k]):
            return ROW_NOT_FINITE
        if source[i, k] < 0.0:
            return ROW_NEGATIVE
    return ROW_SUM


@compiled
def sum_blocks(partials: np.ndarray, totals: np.ndarray) -> float:
    """Add the blocks' rows in block order; the last column, max |Δy|, is returned as a maximum instead."""
    last = partials.shape[1] - 1
    largest = 0.0
    for c in range(last):
        totals[c] = 0.0
    for b in range(partials.shape[0]):
        for c in range(last):
            totals[c] += partials[b, c]
        largest = max(largest, partials[b, last])
    return largest


@compiled
def sum_groups(partials: np.ndarray, group: int, groups: np.ndarray) -> None:
    """Add up the blocks' rows in groups of `group` blocks, in block order; of the last column the maximum."""
    last = partials.shape[1] - 1
    for g in range(groups.shape[0]):
        for c in range(last + 1):
            groups[g, c] = 0.0
        for b in range(g * group, min((g + 1) * group, partials.shape[0])):
            for c in range(last):
                groups[g, c] += partials[b, c]
            groups[g, last] = max(groups[g, last], partials[b, last])


@compiled
def label_sums(labels: np.ndarray, partials: np.ndarray, totals: np.ndarray) -> None:
    """Σ_i y_ik in float64, per block and in block order."""
    num_clusters = labels.shape[1]
    for b in range(partials.shape[0]):
        for k in range(num_clusters):
            partials[b, k] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, labels.shape[0])):
            for k in range(num_clusters):
                partials[b, k] += labels[i, k]
    for k in range(num_clusters):
        totals[k] = 0.0
    for b in range(partials.shape[0]):
        for k in range(num_clusters):
            totals[k] += partials[b, k]


@compiled
def label_groups(labels: np.ndarray, rows: int, groups: np.ndarray) -> None:
    """Σ_i y_ik in float64 for each group of `rows` rows, in the order of the rows."""
    for g in range(groups.shape[0]):
        for k in range(labels.shape[1]):
            groups[g, k] = 0.0
        for i in range(g * rows, min((g + 1) * rows, labels.shape[0])):
            for k in range(labels.shape[1]):
                groups[g, k] += labels[i, k]


@compiled
def collision_sum(probs: np.ndarray, labels: np.ndarray) -> float:
    """Σ_i -ln σ_iᵀy_i (9)."""
    total = 0.0
    for i in range(probs.shape[0]):
        hit = 0.0
        for k in range(probs.shape[1]):
            hit += np.float64(probs[i, k]) * np.float64(labels[i, k])
        total -= math.log(max(hit, LOG_FLOOR))
    return total


@compiled
def shannon_sum(probs: np.ndarray, labels: np.ndarray) -> float:
    """Σ_i Σ_k -y_ik ln σ_ik (8)."""
    total = 0.0
    for i in range(probs.shape[0]):
        for k in range(probs.shape[1]):
            if labels[i, k] > 0.0:
                total -= labels[i, k] * math.log(max(np.float64(probs[i, k]), LOG_FLOOR))
    return total
