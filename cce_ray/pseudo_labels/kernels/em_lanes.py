"""The M-step for few clusters: `kernels.em.em_blocks` with vector registers filled by rows instead of by K.

The rows of a block are solved together, their scratch transposed to (K, lanes), a lane a row. Same
mathematics, same arguments but for the scratch; see `kernels.em` for both. LLVM vectorises loops of a length
it does not know and over few arrays (it must check that none overlap): hence the many short loops.
"""

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS

_MAX_STEPS = 60  # never reached; three steps are usual

Scratch = tuple[np.ndarray, ...]


def make_scratch(shares: int, num_clusters: int, number: type) -> Scratch:
    """Of (shares, K, lanes): a_k, 1-r_k, 1/D_k; of (shares, lanes): A, bound, d, 1+A-d, h(d), Σ a_k/D_k²."""
    planes: list[np.ndarray] = [np.empty((shares, num_clusters, BLOCK_ROWS), number) for _ in range(3)]
    return (*planes, *(np.empty((shares, BLOCK_ROWS), number) for _ in range(6)))


@compiled
def em_lanes(
    share: int,
    first_block: int,
    last_block: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    known: np.ndarray,
    prices: np.ndarray,
    scratch: Scratch,
    limits: np.ndarray,
    tiny: float,
    partials: np.ndarray,
) -> None:
    """`kernels.em.em_blocks` with the scratch of `make_scratch`."""
    weights, deficits, inverses, totals, bounds, roots, rests, heights, squares = scratch
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + 1):
            partials[b, c] = 0.0
        first = b * BLOCK_ROWS
        count = min(BLOCK_ROWS, probs.shape[0] - first)
        _gather(share, first, count, probs, labels, weights, deficits)
        _weigh(share, prices, limits[0], weights, deficits, totals, bounds, heights)
        for j in range(BLOCK_ROWS):  # d = A solves the problem of an idle lane
            slack = max(slacks[first + j], bounds[share, j]) if j < count else totals[share, j]
            roots[share, j] = min(slack, totals[share, j])
        _newton(share, limits, weights, deficits, inverses, totals, bounds, roots, rests, heights, squares)
        for j in range(count):
            slacks[first + j] = roots[share, j]
            if bounds[share, j] == 0.0:
                _closed_form(share, j, first + j, probs, weights, deficits, inverses, totals, heights)
        _store(share, b, first, count, labels, known, tiny, weights, inverses, heights, partials)


@inlined
def _gather(
    share: int,
    first: int,
    count: int,
    probs: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    deficits: np.ndarray,
) -> None:
    """Transpose rows first..first+count-1 of y and σ to the planes of a_k and 1-r_k; fill the idle lanes."""
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
def _weigh(
    share: int,
    prices: np.ndarray,
    floor: float,
    weights: np.ndarray,
    deficits: np.ndarray,
    totals: np.ndarray,
    bounds: np.ndarray,
    peaks: np.ndarray,
) -> None:
    """Turn the planes of y and σ into a_k and 1-r_k; set A and the left bound of d of every lane."""
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
def _newton(
    share: int,
    limits: np.ndarray,
    weights: np.ndarray,
    deficits: np.ndarray,
    inverses: np.ndarray,
    totals: np.ndarray,
    bounds: np.ndarray,
    roots: np.ndarray,
    rests: np.ndarray,
    heights: np.ndarray,
    squares: np.ndarray,
) -> None:
    """`kernels.em._newton` in every lane: d, h(d) and 1/D_k."""
    number = weights.dtype.type
    zero, one = number(0), number(1)
    settled = False
    for _ in range(_MAX_STEPS):
        for j in range(weights.shape[2]):
            rests[share, j] = one + totals[share, j] - roots[share, j]
        _evaluate(share, weights, deficits, inverses, roots, rests, heights, squares)
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
def _evaluate(
    share: int,
    weights: np.ndarray,
    deficits: np.ndarray,
    inverses: np.ndarray,
    roots: np.ndarray,
    rests: np.ndarray,
    heights: np.ndarray,
    squares: np.ndarray,
) -> None:
    """1/D_k with D_k = d + (1+A-d) (1-r_k), h(d) = Σ a_k / D_k and Σ a_k / D_k², in every lane."""
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
def _closed_form(
    share: int,
    j: int,
    i: int,
    probs: np.ndarray,
    weights: np.ndarray,
    deficits: np.ndarray,
    inverses: np.ndarray,
    totals: np.ndarray,
    heights: np.ndarray,
) -> None:
    """`kernels.em._closed_form` of row i in lane j."""
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
    labels: np.ndarray,
    known: np.ndarray,
    tiny: float,
    weights: np.ndarray,
    inverses: np.ndarray,
    heights: np.ndarray,
    partials: np.ndarray,
) -> None:
    """Write the lanes' rows, floored at `tiny` where they were positive, and add them to the block's sums."""
    number = weights.dtype.type
    zero, one = number(0), number(1)
    num_clusters = labels.shape[1]
    floor = number(tiny)
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
