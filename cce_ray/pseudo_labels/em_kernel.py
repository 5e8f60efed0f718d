"""The M-step of the paper's EM as a Numba kernel; `em.em_blocks_reference` is its readable twin.

Rows are solved `LANES` at a time, their scratch transposed to (K, LANES): the inner loops run over rows, so
they fill the vector registers however few clusters there are (twice as fast at K = 10).
"""

import numpy as np

from cce_ray.pseudo_labels.jit import compiled
from cce_ray.pseudo_labels.problem import BLOCK_ROWS

LANES = 16  # divides BLOCK_ROWS
# Planes of the scratch (B, 3, K, LANES).
WEIGHT, DEFICIT, SHARE, TERM_PLANES = 0, 1, 2, 3
# Rows of the lanes' own numbers (B, 5, LANES): 1 + A, max{a_k : r_k = 1}, d, h(d), -h'(d).
SCALE, BOUND, SLACK, HEIGHT, SLOPE, LANE_ROWS = 0, 1, 2, 3, 4, 5

# Newton converges quadratically: after a step this short (relative to d) the next point is exact. The row
# sum alone does not tell: at large λ the class that d belongs to may hold a millionth of it.
_SHORT = 1e-5
_EXACT = 1e-13
_MAX_STEPS = 60  # never reached; three steps are usual


@compiled
def em_blocks(
    first_block: int,
    last_block: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    known: np.ndarray,
    prices: np.ndarray,
    terms: np.ndarray,
    lanes: np.ndarray,
    partials: np.ndarray,
    tiny: float,
) -> None:
    """One M-step (16) for blocks first_block..last_block-1, in place.

    Args:
        first_block, last_block: the range of blocks.
        probs: σ, (M, K).
        labels: y, (M, K); old in, new out.
        slacks: (M,), the roots d of the last iteration; negative: none yet.
        known: (M,), rows to leave alone where >= 0.
        prices: p, (K,), float64; a_ik = p_k y_ik.
        terms: (B, TERM_PLANES, K, LANES) float64, scratch.
        lanes: (B, LANE_ROWS, LANES) float64, scratch.
        partials: (B, K + 1) float64 out: Σ y_ik of the block, then max |Δy|.
        tiny: the smallest normal number of y's type.
    """
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + 1):
            partials[b, c] = 0.0
        stop = min((b + 1) * BLOCK_ROWS, probs.shape[0])
        for first in range(b * BLOCK_ROWS, stop, LANES):
            for j in range(LANES):
                i = first + j
                if i >= stop or known[i] >= 0:
                    _idle(b, j, terms, lanes)
                else:
                    _weigh(b, i, j, probs, labels, slacks, prices, terms, lanes, tiny)
            _newton(b, terms, lanes, tiny)
            for j in range(min(LANES, stop - first)):
                i = first + j
                if known[i] >= 0:
                    partials[b, known[i]] += 1.0
                else:
                    slacks[i] = lanes[b, SLACK, j]
                    if lanes[b, BOUND, j] == 0.0:
                        _closed_form(b, j, terms, lanes)
                    _store(b, i, j, labels, terms, lanes, partials, tiny)


@compiled
def _idle(b: int, j: int, terms: np.ndarray, lanes: np.ndarray) -> None:
    """Give lane j a problem that is solved already: one class of weight 1."""
    for k in range(terms.shape[2]):
        terms[b, WEIGHT, k, j] = 0.0
        terms[b, DEFICIT, k, j] = 1.0
    terms[b, WEIGHT, 0, j] = 1.0
    terms[b, DEFICIT, 0, j] = 0.0
    lanes[b, SCALE, j] = 2.0
    lanes[b, BOUND, j] = 1.0
    lanes[b, SLACK, j] = 1.0


@compiled
def _weigh(
    b: int,
    i: int,
    j: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    prices: np.ndarray,
    terms: np.ndarray,
    lanes: np.ndarray,
    tiny: float,
) -> None:
    """Write row i's a_k and 1-r_k, its 1+A, its left bound and its first d to lane j."""
    num_clusters = probs.shape[1]
    peak = 0.0
    for k in range(num_clusters):
        sigma = np.float64(probs[i, k])
        peak = sigma if sigma > peak else peak
    inverse = 1.0 / peak
    total = 0.0
    bound = 0.0
    for k in range(num_clusters):
        weight = prices[k] * np.float64(labels[i, k])
        # A positive weight stays positive and normal; an exact zero (u_k S_k = 0) stays zero.
        weight = max(weight, tiny) if weight > 0.0 else 0.0
        deficit = (peak - np.float64(probs[i, k])) * inverse
        terms[b, WEIGHT, k, j] = weight
        terms[b, DEFICIT, k, j] = deficit
        total += weight
        top = weight if deficit == 0.0 else 0.0
        bound = top if top > bound else bound
    lanes[b, SCALE, j] = 1.0 + total
    lanes[b, BOUND, j] = bound
    lanes[b, SLACK, j] = min(max(slacks[i], bound), total)


@compiled
def _newton(b: int, terms: np.ndarray, lanes: np.ndarray, tiny: float) -> None:
    """Solve h(d) = Σ a_k / ((1+A)(1-r_k) + r_k d) = 1 in every lane; the terms of h go to the share plane.

    The step is Newton's on 1/h, which is concave and increasing where h is convex and decreasing: it never
    passes the root from the left, lands left of it from the right, and is exact where one class dominates.
    """
    settled = False
    for _ in range(_MAX_STEPS):
        _evaluate(b, terms, lanes, tiny)
        if settled:
            break
        far = 0
        for j in range(LANES):
            error = lanes[b, HEIGHT, j] - 1.0
            slack = lanes[b, SLACK, j]
            step = lanes[b, HEIGHT, j] * error / max(lanes[b, SLOPE, j], tiny)
            moved = max(lanes[b, BOUND, j], slack + step)
            if abs(error) > _EXACT:
                far += 1 if abs(moved - slack) > _SHORT * slack else 0
                lanes[b, SLACK, j] = moved
        settled = far == 0


@compiled
def _evaluate(b: int, terms: np.ndarray, lanes: np.ndarray, tiny: float) -> None:
    """h(d), -h'(d) and the terms of h in every lane."""
    for j in range(LANES):
        lanes[b, HEIGHT, j] = 0.0
        lanes[b, SLOPE, j] = 0.0
    for k in range(terms.shape[2]):
        for j in range(LANES):
            deficit = terms[b, DEFICIT, k, j]
            ratio = 1.0 - deficit
            denominator = lanes[b, SCALE, j] * deficit + ratio * lanes[b, SLACK, j]
            inverse = 1.0 / (denominator if denominator > tiny else tiny)
            share = terms[b, WEIGHT, k, j] * inverse
            terms[b, SHARE, k, j] = share
            lanes[b, HEIGHT, j] += share
            lanes[b, SLOPE, j] += share * inverse * ratio


@compiled
def _closed_form(b: int, j: int, terms: np.ndarray, lanes: np.ndarray) -> None:
    """The supplement's case, u_c S_c = 0 for the largest σ_c: c takes what the rest leaves at d = 0."""
    used = 0.0
    chosen = -1
    for k in range(terms.shape[2]):
        deficit = terms[b, DEFICIT, k, j]
        if terms[b, WEIGHT, k, j] > 0.0:
            used += terms[b, WEIGHT, k, j] / (lanes[b, SCALE, j] * deficit)
        elif deficit == 0.0 and chosen < 0:
            chosen = k
    if used > 1.0:
        return
    for k in range(terms.shape[2]):
        weight = terms[b, WEIGHT, k, j]
        rest = lanes[b, SCALE, j] * terms[b, DEFICIT, k, j]
        terms[b, SHARE, k, j] = weight / rest if weight > 0.0 else 0.0
    terms[b, SHARE, chosen, j] = 1.0 - used
    lanes[b, HEIGHT, j] = 1.0


@compiled
def _store(
    b: int,
    i: int,
    j: int,
    labels: np.ndarray,
    terms: np.ndarray,
    lanes: np.ndarray,
    partials: np.ndarray,
    tiny: float,
) -> None:
    """Write lane j to row i, floored at `tiny` where it was positive, and add it to the block's sums."""
    num_clusters = labels.shape[1]
    factor = 1.0 / lanes[b, HEIGHT, j]
    largest = 0.0
    for k in range(num_clusters):
        share = terms[b, SHARE, k, j] * factor
        floor = tiny if terms[b, WEIGHT, k, j] > 0.0 else 0.0
        share = share if share > floor else floor
        change = abs(share - np.float64(labels[i, k]))
        largest = change if change > largest else largest
        labels[i, k] = share
        partials[b, k] += np.float64(labels[i, k])
    partials[b, num_clusters] = max(partials[b, num_clusters], largest)
