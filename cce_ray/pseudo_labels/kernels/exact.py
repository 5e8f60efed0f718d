"""The row work of `exact` as Numba kernels, three passes an iteration; `reference.exact` holds their twins.

All of a row's unknowns but the prices are eliminated in closed form. With s = σ √(t/x) and W = diag(y/z) the
row's system (W⁻¹ + s sᵀ) dy + 1 dν = q, 1ᵀdy = 0 has the solution

    dy = W e,  e = q - q̄ - α c,  α = Σ w c (q - q̄) / (1 + Σ w c²),  dν = q̄ - α s̄,

with w-weighted means s̄, q̄ and c = s - s̄. (Without centring, Σ w c² is a difference of numbers that grow
like 1/μ.) So N of dy = N q is W - w wᵀ/Σw - (w c)(w c)ᵀ/(1 + Σ w c²), and N 1 = 0; sᵀdy = α gives the changes
of x and of its price t.
"""

import math

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR

# Columns of a row's own numbers (M, ROW_NUMBERS): ν, dν, t, dt (or dx/x of the predictor), 1/x, √(t/x), s̄,
# Σ w, 1 + Σ w c².
NU, NU_MOVE, HIT_PRICE, HIT_MOVE, INVERSE_HIT, SCALE, SLOPE, WEIGHT, REACH, ROW_NUMBERS = range(10)
# Columns of `assemble_rows`'s sums: -ln x, the row's dual value, Σ y z; and its vectors.
COLLISION, DUAL, PRODUCTS, ASSEMBLE_SUMS = 0, 1, 2, 3
LABELS, RESPONSE, ASSEMBLE_VECTORS = 0, 1, 2
# Of `predict_rows`: Σ y z f, Σ y z f²; and its vectors.
FIRST, SECOND, PREDICT_SUMS = 0, 1, 2
MOVES, TURNED, CENTRED, PREDICT_VECTORS = 0, 1, 2, 3
MOST_OF_HIT = 0.5  # how much of x t = 1 the corrector may take back
ROUNDING = 1e-15  # of a stationarity condition, relative to its terms


@compiled
def assemble_rows(
    share: int,
    first_block: int,
    last_block: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    rows: np.ndarray,
    known: np.ndarray,
    prices: np.ndarray,
    steps: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    factors: np.ndarray,
    vectors: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Take the step, then write each row's share of the K×K system for blocks first_block..last_block-1.

    Args:
        share: whose scratch to use.
        first_block, last_block: the range of blocks.
        probs: σ, (M, K).
        labels, slacks: y and z, (M, K) float64; changed by the step.
        moves, turns: dy and dz, (M, K) float64.
        rows: (M, ROW_NUMBERS) float64; ν and t are changed by the step, the rest but dν and dt is written.
        known: (M,), rows to leave alone where >= 0.
        prices: p, (K,), the step taken already.
        steps: (2,): the step of y; the step of z, ν, t and p.
        weights, values: (shares, K) float64, scratch: w and q or e of a row.
        factors: (shares, 2 n, K) float64 out: the rows' W - N as two outer products each, for the n rows of
            these blocks at most; what first_block has no room for is not touched.
        vectors: (B, ASSEMBLE_VECTORS, K) float64 out: Σ y, Σ of the predictor's dy where dp = 0.
        sums: (B, ASSEMBLE_SUMS) float64 out.
    """
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        vectors[b] = 0.0
        sums[b] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            at = 2 * (i - first_block * BLOCK_ROWS)
            if known[i] >= 0:
                c = known[i]
                log_hit = math.log(max(np.float64(probs[i, c]), LOG_FLOOR))
                vectors[b, LABELS, c] += 1.0
                sums[b, COLLISION] -= log_hit
                sums[b, DUAL] -= log_hit + prices[c]
                for k in range(num_clusters):
                    factors[share, at, k] = 0.0
                    factors[share, at + 1, k] = 0.0
            else:
                hit = _take_step(i, probs, labels, slacks, moves, turns, steps)
                rows[i, NU] += steps[1] * rows[i, NU_MOVE]
                rows[i, HIT_PRICE] += steps[1] * rows[i, HIT_MOVE]
                rows[i, INVERSE_HIT] = 1.0 / hit
                rows[i, SCALE] = math.sqrt(rows[i, HIT_PRICE] / hit)
                peak, products = _weigh(share, i, probs, labels, slacks, rows, prices, weights)
                _stationarity(share, i, 0.0, probs, slacks, rows, prices, values)
                sums[b, COLLISION] -= math.log(hit)
                sums[b, DUAL] += 1.0 + math.log(rows[i, HIT_PRICE]) - peak
                sums[b, PRODUCTS] += products
                _add_system(share, b, i, at, probs, labels, rows, weights, values, factors, vectors)


@inlined
def _take_step(
    i: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    steps: np.ndarray,
) -> float:
    """y += step dy and z += step dz of row i, y normalised; return x."""
    hit = 0.0
    total = 0.0
    for k in range(probs.shape[1]):
        label = labels[i, k] + steps[0] * moves[i, k]
        labels[i, k] = label
        hit += np.float64(probs[i, k]) * label
        total += label
    for k in range(probs.shape[1]):
        labels[i, k] /= total  # rounding has let Σ y drift by up to 1e-10
        slacks[i, k] += steps[1] * turns[i, k]
    return hit / total


@inlined
def _weigh(
    share: int,
    i: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    rows: np.ndarray,
    prices: np.ndarray,
    weights: np.ndarray,
) -> tuple[float, float]:
    """Write w to the scratch, and the row's numbers; return max_k σ_k t + p_k and Σ y z."""
    scale = rows[i, SCALE]
    price = rows[i, HIT_PRICE]
    products = 0.0
    total = 0.0
    slope = 0.0
    for k in range(probs.shape[1]):
        weight = labels[i, k] / slacks[i, k]
        weights[share, k] = weight
        products += labels[i, k] * slacks[i, k]
        total += weight
        slope += weight * np.float64(probs[i, k])
    slope *= scale / total
    peak = -math.inf
    for k in range(probs.shape[1]):
        value = np.float64(probs[i, k]) * price + prices[k]
        peak = larger(peak, value)
    reach = 1.0
    for k in range(probs.shape[1]):
        centred = np.float64(probs[i, k]) * scale - slope
        reach += weights[share, k] * centred * centred
    rows[i, SLOPE] = slope
    rows[i, WEIGHT] = total
    rows[i, REACH] = reach
    return peak, products


@inlined
def _stationarity(
    share: int,
    i: int,
    product: float,
    probs: np.ndarray,
    slacks: np.ndarray,
    rows: np.ndarray,
    prices: np.ndarray,
    values: np.ndarray,
) -> None:
    """Write q = (σ t + p - ν + z) + σ (1 - x t - product) / x - z to the scratch.

    What is only rounding in the bracket is left out: near the optimum z is 1e-12 where y is not small, and W
    magnifies the rounding of σ t + p - ν by as much.
    """
    price = rows[i, HIT_PRICE]
    nu = rows[i, NU]
    pull = (1.0 - product) * rows[i, INVERSE_HIT] - price
    for k in range(probs.shape[1]):
        slope = np.float64(probs[i, k]) * price
        residual = slope + prices[k] - nu + slacks[i, k]
        noise = ROUNDING * (slope + abs(prices[k]) + abs(nu))
        residual = residual if abs(residual) > noise else 0.0
        values[share, k] = residual + np.float64(probs[i, k]) * pull - slacks[i, k]


@inlined
def _add_system(
    share: int,
    b: int,
    i: int,
    at: int,
    probs: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    factors: np.ndarray,
    vectors: np.ndarray,
) -> None:
    """Add y and the response to the q of `_stationarity` to the sums; write the two vectors of W - N."""
    num_clusters = probs.shape[1]
    for k in range(num_clusters):
        vectors[b, LABELS, k] += labels[i, k]
    _add_response(share, b, i, RESPONSE, probs, rows, weights, values, vectors)
    first = 1.0 / math.sqrt(rows[i, WEIGHT])
    second = 1.0 / math.sqrt(rows[i, REACH])
    for k in range(num_clusters):
        factors[share, at, k] = weights[share, k] * first
    for k in range(num_clusters):
        centred = np.float64(probs[i, k]) * rows[i, SCALE] - rows[i, SLOPE]
        factors[share, at + 1, k] = weights[share, k] * centred * second


@inlined
def _add_response(
    share: int,
    b: int,
    i: int,
    vector: int,
    probs: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    vectors: np.ndarray,
) -> None:
    """Add dy = w e to a vector of the sums, for the q in the scratch."""
    _solve_row(share, i, probs, rows, weights, values)
    for k in range(probs.shape[1]):
        vectors[b, vector, k] += weights[share, k] * values[share, k]


@inlined
def _solve_row(
    share: int,
    i: int,
    probs: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
) -> tuple[float, float]:
    """Turn the q in the scratch into e; return dν and α = sᵀdy."""
    scale = rows[i, SCALE]
    slope = rows[i, SLOPE]
    mean = 0.0
    for k in range(probs.shape[1]):
        mean += weights[share, k] * values[share, k]
    mean /= rows[i, WEIGHT]
    turn = 0.0
    for k in range(probs.shape[1]):
        value = values[share, k] - mean
        values[share, k] = value
        turn += weights[share, k] * value * (np.float64(probs[i, k]) * scale - slope)
    alpha = turn / rows[i, REACH]
    for k in range(probs.shape[1]):
        values[share, k] -= alpha * (np.float64(probs[i, k]) * scale - slope)
    return mean - alpha * slope, alpha


@compiled
def predict_rows(
    share: int,
    first_block: int,
    last_block: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    turns: np.ndarray,
    rows: np.ndarray,
    known: np.ndarray,
    prices: np.ndarray,
    moves: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    vectors: np.ndarray,
    sums: np.ndarray,
    extremes: np.ndarray,
) -> None:
    """The affine direction, as f = dy / y = -1 - dz / z, and what the corrector needs to know of it.

    Args:
        probs, labels, slacks, rows, known, prices, weights, values: as in `assemble_rows`.
        turns: (M, K) float64 out: f.
        moves: dp of the affine direction, (K,).
        vectors: (B, PREDICT_VECTORS, K) float64 out: Σ dy; Σ of the corrector's dy where dp = 0 without
            centring; Σ of what a unit of centring adds to it.
        sums: (B, PREDICT_SUMS) float64 out.
        extremes: (B, 2) float64 out: the largest -f and f.
    """
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        vectors[b] = 0.0
        sums[b] = 0.0
        extremes[b, 0] = -math.inf
        extremes[b, 1] = -math.inf
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            if known[i] < 0:
                for k in range(num_clusters):
                    weights[share, k] = labels[i, k] / slacks[i, k]
                _stationarity(share, i, 0.0, probs, slacks, rows, prices, values)
                for k in range(num_clusters):
                    values[share, k] += moves[k]
                _, alpha = _solve_row(share, i, probs, rows, weights, values)
                first, second, low, high = _ratios(share, i, labels, slacks, turns, values)
                # x t, dx / x and dt / t = 1 / (x t) - 1 - dx / x
                hit_product = rows[i, HIT_PRICE] / rows[i, INVERSE_HIT]
                ratio = alpha / math.sqrt(hit_product)
                rows[i, HIT_MOVE] = ratio
                sums[b, FIRST] += first
                sums[b, SECOND] += second
                extremes[b, 0] = max(extremes[b, 0], low)
                extremes[b, 1] = max(extremes[b, 1], max(high, ratio - 1.0 / hit_product))
                for k in range(num_clusters):
                    vectors[b, MOVES, k] += labels[i, k] * turns[i, k]
                # The second-order terms of the corrector: dx dt, and -dy dz / y = z f (1 + f).
                pull = _hit_moves_product(i, rows) * rows[i, INVERSE_HIT]
                for k in range(num_clusters):
                    turn = slacks[i, k] * turns[i, k] * (1.0 + turns[i, k])
                    values[share, k] = turn - pull * np.float64(probs[i, k])
                _add_response(share, b, i, TURNED, probs, rows, weights, values, vectors)
                for k in range(num_clusters):
                    values[share, k] = 1.0 / labels[i, k]
                _add_response(share, b, i, CENTRED, probs, rows, weights, values, vectors)


@inlined
def _hit_moves_product(i: int, rows: np.ndarray) -> float:
    """dx dt of the predictor, whose dx/x is in HIT_MOVE; the corrector's 1 - dx dt is kept away from 0."""
    ratio = rows[i, HIT_MOVE]
    product = ratio * (1.0 - rows[i, HIT_PRICE] / rows[i, INVERSE_HIT] * (1.0 + ratio))
    return min(product, MOST_OF_HIT)


@inlined
def _ratios(
    share: int,
    i: int,
    labels: np.ndarray,
    slacks: np.ndarray,
    turns: np.ndarray,
    values: np.ndarray,
) -> tuple[float, float, float, float]:
    """Write f = e / z; return Σ y z f, Σ y z f², max -f and max f."""
    low = -math.inf
    high = -math.inf
    first = 0.0
    second = 0.0
    for k in range(labels.shape[1]):
        ratio = values[share, k] / slacks[i, k]
        turns[i, k] = ratio
        low = larger(low, -ratio)
        high = larger(high, ratio)
        product = labels[i, k] * slacks[i, k] * ratio
        first += product
        second += product * ratio
    return first, second, low, high


@compiled
def correct_rows(
    share: int,
    first_block: int,
    last_block: int,
    probs: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    rows: np.ndarray,
    known: np.ndarray,
    prices: np.ndarray,
    moves_of_prices: np.ndarray,
    centring: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    extremes: np.ndarray,
) -> None:
    """The direction that is taken: the corrector's dy and dz.

    Args:
        probs, labels, slacks, rows, known, prices, weights, values: as in `assemble_rows`; dν is written.
        moves: (M, K) float64 out: dy.
        turns: (M, K) float64: f of `predict_rows` in, dz out.
        moves_of_prices: dp, (K,).
        centring: (1,): what y z is to be.
        extremes: (B, 3) float64 out: the largest -dy/y, -dz/z and |dy|.
    """
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        for c in range(3):
            extremes[b, c] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            if known[i] < 0:
                for k in range(num_clusters):
                    weights[share, k] = labels[i, k] / slacks[i, k]
                # (centring - dy dz) / y, and q
                for k in range(num_clusters):
                    turn = slacks[i, k] * turns[i, k] * (1.0 + turns[i, k])
                    turns[i, k] = centring[0] / labels[i, k] + turn
                price = rows[i, HIT_PRICE]
                product = _hit_moves_product(i, rows)
                _stationarity(share, i, product, probs, slacks, rows, prices, values)
                for k in range(num_clusters):
                    values[share, k] += moves_of_prices[k] + turns[i, k]
                nu_move, alpha = _solve_row(share, i, probs, rows, weights, values)
                rows[i, NU_MOVE] = nu_move
                rows[i, HIT_MOVE] = (1.0 - product) * rows[i, INVERSE_HIT] - price - rows[i, SCALE] * alpha
                extremes[b, 1] = max(extremes[b, 1], -rows[i, HIT_MOVE] / price)
                _directions(share, b, i, labels, slacks, moves, turns, weights, values, extremes)


@inlined
def _directions(
    share: int,
    b: int,
    i: int,
    labels: np.ndarray,
    slacks: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    extremes: np.ndarray,
) -> None:
    """dy = w e and dz = (centring - dy dz) / y - z - e; how far they may go."""
    low = 0.0
    turn_low = 0.0
    largest = 0.0
    for k in range(labels.shape[1]):
        move = weights[share, k] * values[share, k]
        moves[i, k] = move
        largest = larger(largest, abs(move))
        low = larger(low, -move / labels[i, k])
    for k in range(labels.shape[1]):
        turn = turns[i, k] - slacks[i, k] - values[share, k]
        turns[i, k] = turn
        turn_low = larger(turn_low, -turn / slacks[i, k])
    extremes[b, 0] = max(extremes[b, 0], low)
    extremes[b, 1] = max(extremes[b, 1], turn_low)
    extremes[b, 2] = max(extremes[b, 2], largest)
