"""The M-step of the paper's EM as a Numba kernel; `em.em_rows_reference` is its readable twin."""

import numpy as np

from cce_ray.pseudo_labels.jit import compiled
from cce_ray.pseudo_labels.problem import BLOCK_ROWS

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
    scratch: np.ndarray,
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
        scratch: (B, 3, K) float64.
        partials: (B, K + 1) float64 out: Σ y_ik of the block, then max |Δy|.
        tiny: the smallest normal number of y's type.
    """
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(num_clusters + 1):
            partials[b, c] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            if known[i] >= 0:
                partials[b, known[i]] += 1.0
            else:
                total, bound = _weigh(b, i, probs, labels, prices, scratch, tiny)
                if bound == 0.0 and _closed_form(b, total, scratch):
                    _store(b, i, 1.0, labels, scratch, partials, tiny)
                else:
                    height, slacks[i] = _newton(b, total, bound, slacks[i], scratch, tiny)
                    _store(b, i, 1.0 / height, labels, scratch, partials, tiny)


@compiled
def _weigh(
    b: int,
    i: int,
    probs: np.ndarray,
    labels: np.ndarray,
    prices: np.ndarray,
    scratch: np.ndarray,
    tiny: float,
) -> tuple[float, float]:
    """Write a_k and 1-r_k to the scratch; return A and the left bound max{a_k : r_k = 1}."""
    num_clusters = probs.shape[1]
    peak = 0.0
    for k in range(num_clusters):
        sigma = np.float64(probs[i, k])
        peak = sigma if sigma > peak else peak
    inverse = 1.0 / peak
    for k in range(num_clusters):
        weight = prices[k] * np.float64(labels[i, k])
        # A positive weight stays positive and normal; an exact zero (u_k S_k = 0) stays zero.
        scratch[b, 0, k] = max(weight, tiny) if weight > 0.0 else 0.0
        scratch[b, 1, k] = (peak - np.float64(probs[i, k])) * inverse
    total = 0.0
    bound = 0.0
    for k in range(num_clusters):
        weight = scratch[b, 0, k]
        total += weight
        top = weight if scratch[b, 1, k] == 0.0 else 0.0
        bound = top if top > bound else bound
    return total, bound


@compiled
def _closed_form(b: int, total: float, scratch: np.ndarray) -> bool:
    """The supplement's case, u_c S_c = 0 for the largest σ_c: write y if the rest needs <= 1 at d = 0."""
    num_clusters = scratch.shape[2]
    scale = 1.0 + total
    used = 0.0
    chosen = -1
    for k in range(num_clusters):
        weight = scratch[b, 0, k]
        deficit = scratch[b, 1, k]
        scratch[b, 2, k] = 0.0
        if weight > 0.0:
            scratch[b, 2, k] = weight / (scale * deficit)
            used += scratch[b, 2, k]
        elif deficit == 0.0 and chosen < 0:
            chosen = k
    if used > 1.0:
        return False
    scratch[b, 2, chosen] = 1.0 - used
    return True


@compiled
def _newton(
    b: int, total: float, bound: float, slack: float, scratch: np.ndarray, tiny: float
) -> tuple[float, float]:
    """Solve h(d) = Σ a_k / ((1+A)(1-r_k) + r_k d) = 1; the terms go to the scratch. Returns (h, d).

    The step is Newton's on 1/h, which is concave and increasing where h is convex and decreasing: it never
    passes the root from the left, lands left of it from the right, and is exact where one class dominates.
    """
    num_clusters = scratch.shape[2]
    scale = 1.0 + total
    slack = min(max(slack, bound), total)
    height = 1.0
    close = False
    for _ in range(_MAX_STEPS):
        height = 0.0
        slope = 0.0
        for k in range(num_clusters):
            deficit = scratch[b, 1, k]
            ratio = 1.0 - deficit
            denominator = scale * deficit + ratio * slack
            inverse = 1.0 / (denominator if denominator > tiny else tiny)
            share = scratch[b, 0, k] * inverse
            scratch[b, 2, k] = share
            height += share
            slope += share * inverse * ratio
        if close or abs(height - 1.0) <= _EXACT:
            break
        step = height * (height - 1.0) / slope
        close = abs(step) <= _SHORT * slack
        slack = max(bound, slack + step)
    return height, slack


@compiled
def _store(
    b: int,
    i: int,
    factor: float,
    labels: np.ndarray,
    scratch: np.ndarray,
    partials: np.ndarray,
    tiny: float,
) -> None:
    """Write the row, floored at `tiny` where it was positive, and add it to the block's sums."""
    num_clusters = labels.shape[1]
    largest = 0.0
    for k in range(num_clusters):
        share = scratch[b, 2, k] * factor
        floor = tiny if scratch[b, 0, k] > 0.0 else 0.0
        share = share if share > floor else floor
        change = abs(share - np.float64(labels[i, k]))
        largest = change if change > largest else largest
        labels[i, k] = share
        partials[b, k] += np.float64(labels[i, k])
    partials[b, num_clusters] = max(partials[b, num_clusters], largest)
