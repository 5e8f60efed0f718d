"""The M-step of the paper's EM as a Numba kernel; `reference.em.em_blocks_reference` is its readable twin.

A row is solved in four kinds of passes over its K entries, each of which fills the vector registers: the
largest σ, the weights a_k, two or three Newton steps of one packed division an entry, and the store.

With c = 1 + A - d the denominator of h(d) is D_k = d + c (1-r_k), and r_k = (1 + A - D_k) / c: so the slope
-h'(d) = Σ a_k r_k / D_k² = ((1+A) Q - h) / c needs only Q = Σ a_k / D_k² beside h = Σ a_k / D_k.
"""

from typing import NamedTuple

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS

# Rows of a share's scratch (shares, 3, K): a_k, 1-r_k, and the new y_k before they are normalised.
WEIGHT, DEFICIT, SHARE, SCRATCH_ROWS = 0, 1, 2, 3
_MAX_STEPS = 60  # never reached; three steps are usual


class Rows(NamedTuple):
    """The arrays with a row for every point."""

    probs: np.ndarray
    """σ, (M, K), float32 or float64; read only."""
    labels: np.ndarray
    """y, (M, K), of σ's dtype; old in, new out."""
    slacks: np.ndarray
    """(M,), of the scratch's dtype: the roots d of the last iteration, negative where there is none yet; new
    ones out."""
    known: np.ndarray
    """(M,), int64: rows to leave alone where >= 0; read only."""


def make_scratch(shares: int, num_clusters: int, number: type) -> np.ndarray:
    """Room for one row a share."""
    return np.empty((shares, SCRATCH_ROWS, num_clusters), number)


@compiled
def em_blocks(
    share: int,
    first_block: int,
    last_block: int,
    rows: Rows,
    prices: np.ndarray,
    limits: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
) -> None:
    """One M-step (16) for blocks first_block..last_block-1, in place.

    Everything but the partial sums is computed in the type of `scratch`.

    Args:
        share: whose scratch to use.
        first_block, last_block: the range of blocks.
        rows: labels and slacks are changed.
        prices: p, (K,), of the scratch's dtype; a_ik = p_k y_ik.
        limits: (4,), of the scratch's dtype: the floor of positive weights, |h(d) - 1| that needs no step,
            the step, relative to d, after which the next point is exact (Newton converges quadratically), and
            the floor of positive labels, the smallest normal number of their dtype.
        scratch: (shares, SCRATCH_ROWS, K), float32 or float64.
        partials: (B, K + 1) float64 out: Σ y_ik of the block, then max |Δy|.
    """
    probs, labels, slacks, known = rows
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + 1):
            partials[b, c] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            if known[i] >= 0:
                partials[b, known[i]] += 1.0
            else:
                total, bound = _weigh(share, i, probs, labels, prices, scratch, limits[0])
                slack = min(max(slacks[i], bound), total)
                slacks[i], height = _newton(share, total, bound, slack, scratch, limits)
                if bound == 0.0:
                    height = _closed_form(share, i, height, total, probs, scratch)
                _store(share, b, i, height, labels, scratch, limits[3], partials)


@inlined
def _weigh(
    share: int,
    i: int,
    probs: np.ndarray,
    labels: np.ndarray,
    prices: np.ndarray,
    scratch: np.ndarray,
    floor: float,
) -> tuple[float, float]:
    """Write row i's a_k and 1-r_k to the scratch; return A and the left bound of d, max{a_k : r_k = 1}."""
    number = scratch.dtype.type
    zero, one = number(0), number(1)
    peak = zero
    for k in range(probs.shape[1]):
        peak = larger(peak, number(probs[i, k]))
    inverse = one / peak
    total = zero
    bound = zero
    for k in range(probs.shape[1]):
        weight = prices[k] * number(labels[i, k])
        # A positive weight stays positive and normal; an exact zero (u_k S_k = 0) stays zero, and any
        # denominator but 0 will do for it.
        weight = larger(weight, floor) if weight > zero else zero
        deficit = (peak - number(probs[i, k])) * inverse
        scratch[share, WEIGHT, k] = weight
        scratch[share, DEFICIT, k] = deficit if weight > zero else one
        total += weight
        bound = larger(bound, weight if deficit == zero else zero)
    return total, bound


@inlined
def _newton(
    share: int, total: float, bound: float, slack: float, scratch: np.ndarray, limits: np.ndarray
) -> tuple[float, float]:
    """Solve h(d) = 1 from `slack`; return d and h(d), whose terms go to the scratch.

    The step is Newton's on 1/h, which is concave and increasing where h is convex and decreasing: it never
    passes the root from the left, lands left of it from the right, and is exact where one class dominates.
    """
    one = scratch.dtype.type(1)
    height = one
    settled = False
    for _ in range(_MAX_STEPS):
        height, squares = _evaluate(share, slack, one + total - slack, scratch)
        error = height - one
        if settled or abs(error) <= limits[1]:
            break
        slope = ((one + total) * squares - height) / (one + total - slack)
        moved = max(bound, slack + height * error / max(slope, limits[0]))
        settled = abs(moved - slack) <= limits[2] * slack
        slack = moved
    return slack, height


@inlined
def _evaluate(share: int, slack: float, rest: float, scratch: np.ndarray) -> tuple[float, float]:
    """h(d) = Σ a_k / D_k and Σ a_k / D_k² with D_k = d + (1+A-d) (1-r_k)."""
    one = scratch.dtype.type(1)
    height = one - one
    squares = one - one
    for k in range(scratch.shape[2]):
        inverse = one / (slack + rest * scratch[share, DEFICIT, k])
        term = scratch[share, WEIGHT, k] * inverse
        scratch[share, SHARE, k] = term
        height += term
        squares += term * inverse
    return height, squares


@inlined
def _closed_form(
    share: int, i: int, height: float, total: float, probs: np.ndarray, scratch: np.ndarray
) -> float:
    """The supplement's case, u_c S_c = 0 for the largest σ_c: c takes what the rest leaves at d = 0."""
    one = scratch.dtype.type(1)
    used = one - one
    chosen = 0
    for k in range(probs.shape[1]):
        chosen = k if probs[i, k] > probs[i, chosen] else chosen
        used += scratch[share, WEIGHT, k] / ((one + total) * scratch[share, DEFICIT, k])
    if used > one:
        return height
    for k in range(probs.shape[1]):
        scratch[share, SHARE, k] = scratch[share, WEIGHT, k] / ((one + total) * scratch[share, DEFICIT, k])
    scratch[share, SHARE, chosen] = one - used
    return one


@inlined
def _store(
    share: int,
    b: int,
    i: int,
    height: float,
    labels: np.ndarray,
    scratch: np.ndarray,
    floor: float,
    partials: np.ndarray,
) -> None:
    """Write the row, at least `floor` where it was positive, and add it to the block's sums."""
    number = scratch.dtype.type
    factor = number(1) / height
    largest = number(0)
    for k in range(labels.shape[1]):
        new = scratch[share, SHARE, k] * factor
        new = larger(new, floor) if scratch[share, WEIGHT, k] > number(0) else new
        largest = larger(largest, abs(new - number(labels[i, k])))
        labels[i, k] = new
        partials[b, k] += np.float64(labels[i, k])
    partials[b, labels.shape[1]] = max(partials[b, labels.shape[1]], np.float64(largest))
