"""The M-step for few clusters: `kernels.em.em_blocks` with vector registers filled by rows instead of by K.

The rows of a block are solved together, their scratch transposed to (K, lanes), a lane a row. Same
mathematics, same arguments but for the scratch; see `kernels.em` for both. LLVM vectorises loops of a length
it does not know and over few arrays (it must check that none overlap): hence the many short loops.

`Rows` is defined in another file: see `kernels.jit` about the cache.
"""

from typing import NamedTuple

import numpy as np

from cce_ray.pseudo_labels.kernels.em import Rows
from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS

_MAX_STEPS = 60  # never reached; three steps are usual


class Lanes(NamedTuple):
    """Room for one block a share, a lane a row; all of one dtype, float32 or float64."""

    weights: np.ndarray
    """y, then a_k, (shares, K, BLOCK_ROWS)."""
    deficits: np.ndarray
    """σ_k, then 1-r_k, (shares, K, BLOCK_ROWS)."""
    inverses: np.ndarray
    """1/D_k, then the new y_k, (shares, K, BLOCK_ROWS)."""
    totals: np.ndarray
    """A, (shares, BLOCK_ROWS)."""
    bounds: np.ndarray
    """The left bound of d, (shares, BLOCK_ROWS)."""
    roots: np.ndarray
    """d, (shares, BLOCK_ROWS)."""
    rests: np.ndarray
    """1+A-d, (shares, BLOCK_ROWS)."""
    heights: np.ndarray
    """max σ_k, then h(d), then the factor that normalises y, (shares, BLOCK_ROWS)."""
    squares: np.ndarray
    """Σ a_k/D_k², then Newton's step, (shares, BLOCK_ROWS)."""


def make_scratch(shares: int, num_clusters: int, number: type) -> tuple[np.ndarray, ...]:
    """The arrays of `Lanes`, as a plain tuple (see `kernels.jit`)."""
    planes: list[np.ndarray] = [np.empty((shares, num_clusters, BLOCK_ROWS), number) for _ in range(3)]
    return (*planes, *(np.empty((shares, BLOCK_ROWS), number) for _ in range(6)))


@compiled
def em_lanes(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    prices: np.ndarray,
    limits: np.ndarray,
    scratch: Lanes,
    partials: np.ndarray,
) -> None:
    """`kernels.em.em_blocks` with the scratch of `make_scratch`."""
    rows, scratch = Rows(*rows), Lanes(*scratch)
    probs, labels, slacks, _ = rows
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + 1):
            partials[b, c] = 0.0
        first = b * BLOCK_ROWS
        count = min(BLOCK_ROWS, probs.shape[0] - first)
        _gather(share, first, count, probs, labels, scratch)
        _weigh(share, prices, limits[0], scratch)
        totals, bounds, roots = scratch.totals, scratch.bounds, scratch.roots
        for j in range(BLOCK_ROWS):  # d = A solves the problem of an idle lane
            slack = max(slacks[first + j], bounds[share, j]) if j < count else totals[share, j]
            roots[share, j] = min(slack, totals[share, j])
        _newton(share, limits, scratch)
        for j in range(count):
            slacks[first + j] = roots[share, j]
            if bounds[share, j] == 0.0:
                _closed_form(share, j, first + j, probs, scratch)
        _store(share, b, first, count, rows, limits[3], scratch, partials)


@inlined
def _gather(
    share: int, first: int, count: int, probs: np.ndarray, labels: np.ndarray, scratch: Lanes
) -> None:
    """Transpose rows first..first+count-1 of y and σ to the planes of a_k and 1-r_k; fill the idle lanes."""
    weights, deficits = scratch.weights, scratch.deficits
    one = weights.dtype.type(1)
    for j in range(count):
        for k in range(probs.shape[1]):
            weights[share, k, j] = labels[first + j, k]
            deficits[share, k, j] = probs[first + j, k]
    for j in range(count, weights.shape[2]):
        for k in range(probs.shape[1]):
            weights[share, k, j] = one
            deficits[share, k, j] = one


@inlined
def _weigh(share: int, prices: np.ndarray, floor: float, scratch: Lanes) -> None:
    """Turn the planes of y and σ into a_k and 1-r_k; set A and the left bound of d of every lane."""
    weights, deficits = scratch.weights, scratch.deficits
    totals, bounds, peaks = scratch.totals, scratch.bounds, scratch.heights
    number = weights.dtype.type
    zero, one = number(0), number(1)
    num_clusters = prices.shape[0]
    for j in range(weights.shape[2]):
        totals[share, j] = zero
        bounds[share, j] = zero
        peaks[share, j] = zero
    for k in range(num_clusters):
        for j in range(weights.shape[2]):
            peaks[share, j] = larger(peaks[share, j], deficits[share, k, j])
    for k in range(num_clusters):
        price = prices[k]
        for j in range(weights.shape[2]):
            weight = price * weights[share, k, j]
            weights[share, k, j] = larger(weight, floor) if weight > zero else zero
        for j in range(weights.shape[2]):
            totals[share, j] += weights[share, k, j]
        for j in range(weights.shape[2]):
            weight = weights[share, k, j]
            deficit = (peaks[share, j] - deficits[share, k, j]) / peaks[share, j]
            bounds[share, j] = larger(bounds[share, j], weight if deficit == zero else zero)
            deficits[share, k, j] = deficit if weight > zero else one


@inlined
def _newton(share: int, limits: np.ndarray, scratch: Lanes) -> None:
    """`kernels.em._newton` in every lane: d, h(d) and 1/D_k."""
    weights, totals, bounds, roots = scratch.weights, scratch.totals, scratch.bounds, scratch.roots
    rests, heights, squares = scratch.rests, scratch.heights, scratch.squares
    number = weights.dtype.type
    zero, one = number(0), number(1)
    settled = False
    for _ in range(_MAX_STEPS):
        for j in range(weights.shape[2]):
            rests[share, j] = one + totals[share, j] - roots[share, j]
        _evaluate(share, scratch)
        if settled:
            break
        for j in range(weights.shape[2]):
            # Newton's step on 1/h, to where squares were; zero where h is right already.
            height = heights[share, j]
            slope = ((one + totals[share, j]) * squares[share, j] - height) / rests[share, j]
            step = height * (height - one) / larger(slope, limits[0])
            squares[share, j] = step if abs(height - one) > limits[1] else zero
        moving = zero
        far = zero
        for j in range(weights.shape[2]):
            slack = roots[share, j]
            moved = larger(slack + squares[share, j], bounds[share, j])
            roots[share, j] = moved
            moving += one if moved != slack else zero
            far += one if abs(moved - slack) > limits[2] * slack else zero
        if moving == zero:
            break
        settled = far == zero


@inlined
def _evaluate(share: int, scratch: Lanes) -> None:
    """1/D_k with D_k = d + (1+A-d) (1-r_k), h(d) = Σ a_k / D_k and Σ a_k / D_k², in every lane."""
    weights, deficits, inverses, _, _, roots, rests, heights, squares = scratch
    zero, one = weights.dtype.type(0), weights.dtype.type(1)
    for j in range(weights.shape[2]):
        heights[share, j] = zero
        squares[share, j] = zero
    for k in range(weights.shape[1]):
        for j in range(weights.shape[2]):
            inverses[share, k, j] = one / (roots[share, j] + rests[share, j] * deficits[share, k, j])
        for j in range(weights.shape[2]):
            term = weights[share, k, j] * inverses[share, k, j]
            heights[share, j] += term
            squares[share, j] += term * inverses[share, k, j]


@inlined
def _closed_form(share: int, j: int, i: int, probs: np.ndarray, scratch: Lanes) -> None:
    """`kernels.em._closed_form` of row i in lane j."""
    weights, deficits, inverses = scratch.weights, scratch.deficits, scratch.inverses
    totals, heights = scratch.totals, scratch.heights
    one = weights.dtype.type(1)
    scale = one + totals[share, j]
    used = one - one
    chosen = 0
    for k in range(probs.shape[1]):
        chosen = k if probs[i, k] > probs[i, chosen] else chosen
        used += weights[share, k, j] / (scale * deficits[share, k, j])
    if used <= one:
        for k in range(probs.shape[1]):
            inverses[share, k, j] = one / (scale * deficits[share, k, j])
        weights[share, chosen, j] = one - used
        inverses[share, chosen, j] = one
        heights[share, j] = one


@inlined
def _store(
    share: int,
    b: int,
    first: int,
    count: int,
    rows: Rows,
    floor: float,
    scratch: Lanes,
    partials: np.ndarray,
) -> None:
    """Write the lanes' rows, at least `floor` where they were positive, and add them to the block's sums."""
    labels, known = rows.labels, rows.known
    weights, inverses, heights = scratch.weights, scratch.inverses, scratch.heights
    number = weights.dtype.type
    zero, one = number(0), number(1)
    num_clusters = labels.shape[1]
    for j in range(weights.shape[2]):
        # A factor of zero marks the lanes that hold no row, or one that stays as it is.
        free = j < count and known[first + min(j, count - 1)] < 0
        heights[share, j] = one / heights[share, j] if free else zero
    for k in range(num_clusters):
        total = 0.0
        for j in range(weights.shape[2]):
            factor = heights[share, j]
            new = weights[share, k, j] * inverses[share, k, j] * factor
            new = larger(new, floor) if weights[share, k, j] * factor > zero else new
            inverses[share, k, j] = new
            total += np.float64(new)
        partials[b, k] += total
    largest = zero
    for j in range(count):
        if known[first + j] >= 0:
            partials[b, known[first + j]] += 1.0
        else:
            for k in range(num_clusters):
                new = inverses[share, k, j]
                largest = larger(largest, abs(new - number(labels[first + j, k])))
                labels[first + j, k] = new
    partials[b, num_clusters] = max(partials[b, num_clusters], np.float64(largest))
