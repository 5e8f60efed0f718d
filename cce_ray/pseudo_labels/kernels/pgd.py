"""One projected gradient trial as a Numba kernel; `reference.pgd` holds its readable twin."""

import math
from typing import NamedTuple

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, HIT_FLOOR, LOG_FLOOR

# Columns of the partial sums after the K sums of the trial, with x = σᵀy: Σ -ln x', Σ (x'-x)/x, Σ (x'-x)/x',
# Σ ‖y'-y‖², max |Δy|.
COLLISION, TURN_OLD, TURN_NEW, SQUARES, CHANGE, EXTRA_COLUMNS = 0, 1, 2, 3, 4, 5


class Rows(NamedTuple):
    """The arrays with a row for every point."""

    probs: np.ndarray
    """σ, (M, K), float32 or float64; read only."""
    labels: np.ndarray
    """y, (M, K), float64; read only."""
    trial: np.ndarray
    """(M, K), float64, out."""
    known: np.ndarray
    """(M,), int64: rows to copy where >= 0; read only."""


@compiled
def pgd_blocks(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    prices: np.ndarray,
    step: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """trial = projection of y - step · gradient onto the simplex, for blocks first_block..last_block-1.

    Args:
        share: whose scratch to use.
        first_block, last_block: the range of blocks.
        rows: trial is written.
        prices: p, (K,), float64; the gradient of row i is -σ_i/(σ_iᵀy_i) - p.
        step: (1,), float64.
        scratch: (shares, K) float64.
        partials: (B, K + EXTRA_COLUMNS) float64 out.
    """
    rows = Rows(*rows)
    probs, labels, trial, known = rows
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + EXTRA_COLUMNS):
            partials[b, c] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            hit = 0.0
            for k in range(num_clusters):
                hit += np.float64(probs[i, k]) * np.float64(labels[i, k])
            if known[i] >= 0:
                for k in range(num_clusters):
                    trial[i, k] = labels[i, k]
                partials[b, known[i]] += 1.0
                partials[b, num_clusters + COLLISION] -= math.log(max(hit, LOG_FLOOR))
            else:
                pull = step[0] / max(hit, HIT_FLOOR)
                for k in range(num_clusters):
                    move = pull * np.float64(probs[i, k]) + step[0] * prices[k]
                    scratch[share, k] = np.float64(labels[i, k]) + move
                threshold = project_row(scratch[share])
                _store(b, i, hit, threshold, rows, scratch[share], partials)


@inlined
def project_row(points: np.ndarray) -> float:
    """Shift `points` (K,) so that its largest v_k is 0; return τ with Σ_k max(v_k - τ, 0) = 1.

    The shift moves no projection, and keeps its digits when a price throws v far away.

    Newton on this piecewise linear, convex function from a left bound (Michelot): monotone, exact after at
    most K passes, usually three to six.
    """
    num_clusters = points.shape[0]
    peak = points[0]
    for k in range(num_clusters):
        peak = larger(peak, points[k])
    total = 0.0
    for k in range(num_clusters):
        points[k] -= peak
        total += points[k]
    threshold = max((total - 1.0) / num_clusters, -1.0)
    active = num_clusters + 1
    while True:
        total = 0.0
        count = 0
        for k in range(num_clusters):
            above = points[k] > threshold
            total += points[k] if above else 0.0
            count += 1 if above else 0
        new = (total - 1.0) / count  # count > 0: the largest is 0 and the threshold below it
        if count >= active or new <= threshold:
            return new
        active = count
        threshold = new


@inlined
def _store(
    b: int,
    i: int,
    hit: float,
    threshold: float,
    rows: Rows,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """Write the projected row and its shares of the sums that the line search needs."""
    probs, labels, trial, _ = rows
    num_clusters = probs.shape[1]
    new_hit = 0.0
    squares = 0.0
    largest = 0.0
    for k in range(num_clusters):
        trial[i, k] = larger(scratch[k] - threshold, 0.0)
        share = np.float64(trial[i, k])
        difference = share - np.float64(labels[i, k])
        new_hit += share * np.float64(probs[i, k])
        squares += difference * difference
        largest = larger(largest, abs(difference))
        partials[b, k] += share
    base = num_clusters
    partials[b, base + COLLISION] -= math.log(max(new_hit, LOG_FLOOR))
    partials[b, base + TURN_OLD] += (new_hit - hit) / max(hit, HIT_FLOOR)
    partials[b, base + TURN_NEW] += (new_hit - hit) / max(new_hit, HIT_FLOOR)
    partials[b, base + SQUARES] += squares
    partials[b, base + CHANGE] = max(partials[b, base + CHANGE], largest)
