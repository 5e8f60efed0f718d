"""The row work of `exact` as Numba kernels, three passes an iteration; `reference.exact` holds their twins.

All of a row's unknowns but the prices are eliminated in closed form. With s = σ √(t/x) and W = diag(y/z) the
row's system (W⁻¹ + s sᵀ) dy + 1 dν = q, 1ᵀdy = 0 has the solution

    dy = W e,  e = q - q̄ - α c,  α = Σ w c (q - q̄) / (1 + Σ w c²),  dν = q̄ - α s̄,

with w-weighted means s̄, q̄ and c = s - s̄. (Without centring, Σ w c² is a difference of numbers that grow
like 1/μ.) So N of dy = N q is W - w wᵀ/Σw - (w c)(w c)ᵀ/(1 + Σ w c²), and N 1 = 0; sᵀdy = α gives the changes
of x and of its price t.
"""

import math
from typing import NamedTuple

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR

# Columns of a row's own numbers (M, ROW_NUMBERS): ν, dν, t, dt (or dx/x of the predictor), 1/x, √(t/x), s̄,
# Σ w, 1 + Σ w c².
NU, NU_MOVE, HIT_PRICE, HIT_MOVE, INVERSE_HIT, SCALE, SLOPE, WEIGHT, REACH, ROW_NUMBERS = range(10)
# Columns of `System.sums`: -ln x, the row's dual value, Σ y z; and rows of its vectors.
COLLISION, DUAL, PRODUCTS, ASSEMBLE_SUMS = 0, 1, 2, 3
LABELS, RESPONSE, ASSEMBLE_VECTORS = 0, 1, 2
# Of `Prediction`: Σ y z f, Σ y z f²; and its vectors.
FIRST, SECOND, PREDICT_SUMS = 0, 1, 2
MOVES, TURNED, CENTRED, PREDICT_VECTORS = 0, 1, 2, 3
MOST_OF_HIT = 0.5  # how much of x t = 1 the corrector may take back
ROUNDING = 1e-15  # of a stationarity condition, relative to its terms


class Rows(NamedTuple):
    """The arrays with a row for every point; all but the first two are changed in place."""

    probs: np.ndarray
    """σ, (M, K), float32 or float64."""
    known: np.ndarray
    """(M,), int64: rows to leave alone where >= 0."""
    labels: np.ndarray
    """y, (M, K), float64."""
    slacks: np.ndarray
    """z, (M, K), float64."""
    moves: np.ndarray
    """dy, (M, K), float64."""
    turns: np.ndarray
    """dz, (M, K), float64; between `predict_rows` and `correct_rows` f = dy / y of the affine direction."""
    numbers: np.ndarray
    """(M, ROW_NUMBERS), float64: the columns NU to REACH."""


class Step(NamedTuple):
    """What the K×K half decides for all rows; the solver writes it before each call, the kernels read it."""

    prices: np.ndarray
    """p, (K,), float64, the last step taken already."""
    affine: np.ndarray
    """dp of the affine direction, (K,), float64, which `predict_rows` needs."""
    moves: np.ndarray
    """dp of the direction that is taken, (K,), float64, which `correct_rows` needs."""
    centring: np.ndarray
    """(1,), float64: what y z is to be, which `correct_rows` needs."""
    lengths: np.ndarray
    """(2,), float64: the step of y; the step of z, ν, t and p; which `assemble_rows` needs."""


class Scratch(NamedTuple):
    """Room for one row a share."""

    weights: np.ndarray
    """w, (shares, K), float64."""
    values: np.ndarray
    """q or e, (shares, K), float64."""


class System(NamedTuple):
    """What `assemble_rows` writes."""

    factors: np.ndarray
    """(shares, 2 n, K), float64: the rows' W - N as two outer products each, for the n rows of the call's
    blocks at most; what first_block has no room for is not touched."""
    vectors: np.ndarray
    """(B, ASSEMBLE_VECTORS, K), float64: Σ y, Σ of the predictor's dy where dp = 0."""
    sums: np.ndarray
    """(B, ASSEMBLE_SUMS), float64."""


class Prediction(NamedTuple):
    """What `predict_rows` writes."""

    vectors: np.ndarray
    """(B, PREDICT_VECTORS, K), float64: Σ dy; Σ of the corrector's dy where dp = 0 without centring; Σ of
    what a unit of centring adds to it."""
    sums: np.ndarray
    """(B, PREDICT_SUMS), float64."""
    extremes: np.ndarray
    """(B, 2), float64: the largest -f and f."""


@compiled
def assemble_rows(
    share: int, first_block: int, last_block: int, rows: Rows, step: Step, scratch: Scratch, out: System
) -> None:
    """Take the step, then write each row's share of the K×K system for blocks first_block..last_block-1.

    Args:
        share: whose scratch to use.
        first_block, last_block: the range of blocks.
        rows: the step changes y, z, ν and t; all other numbers but dν and dt are written.
        step: prices and lengths are read.
        scratch: written.
        out: written.
    """
    rows, step, scratch, out = Rows(*rows), Step(*step), Scratch(*scratch), System(*out)
    probs, known, numbers = rows.probs, rows.known, rows.numbers
    prices, lengths, weights = step.prices, step.lengths, scratch.weights
    factors, vectors, sums = out
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
                factors[share, at : at + 2] = 0.0
            else:
                hit = _take_step(i, rows, lengths)
                numbers[i, INVERSE_HIT] = 1.0 / hit
                numbers[i, SCALE] = math.sqrt(numbers[i, HIT_PRICE] / hit)
                peak, products = _weigh(share, i, rows, prices, weights)
                _stationarity(share, i, 0.0, rows, step, scratch)
                sums[b, COLLISION] -= math.log(hit)
                sums[b, DUAL] += 1.0 + math.log(numbers[i, HIT_PRICE]) - peak
                sums[b, PRODUCTS] += products
                _add_system(share, b, i, at, rows, scratch, out)


@inlined
def _take_step(i: int, rows: Rows, lengths: np.ndarray) -> float:
    """Move y, z, ν and t of row i by their steps, y normalised; return x."""
    probs, labels, slacks, moves, turns = rows.probs, rows.labels, rows.slacks, rows.moves, rows.turns
    hit = 0.0
    total = 0.0
    for k in range(probs.shape[1]):
        label = labels[i, k] + lengths[0] * moves[i, k]
        labels[i, k] = label
        hit += np.float64(probs[i, k]) * label
        total += label
    for k in range(probs.shape[1]):
        labels[i, k] /= total  # rounding has let Σ y drift by up to 1e-10
        slacks[i, k] += lengths[1] * turns[i, k]
    numbers = rows.numbers
    numbers[i, NU] += lengths[1] * numbers[i, NU_MOVE]
    numbers[i, HIT_PRICE] += lengths[1] * numbers[i, HIT_MOVE]
    return hit / total


@inlined
def _weigh(share: int, i: int, rows: Rows, prices: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Write w to the scratch, and the row's numbers; return max_k σ_k t + p_k and Σ y z."""
    probs, labels, slacks, numbers = rows.probs, rows.labels, rows.slacks, rows.numbers
    scale, price = numbers[i, SCALE], numbers[i, HIT_PRICE]
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
        peak = larger(peak, np.float64(probs[i, k]) * price + prices[k])
    reach = 1.0
    for k in range(probs.shape[1]):
        centred = np.float64(probs[i, k]) * scale - slope
        reach += weights[share, k] * centred * centred
    numbers[i, SLOPE] = slope
    numbers[i, WEIGHT] = total
    numbers[i, REACH] = reach
    return peak, products


@inlined
def _stationarity(share: int, i: int, product: float, rows: Rows, step: Step, scratch: Scratch) -> None:
    """Write q = (σ t + p - ν + z) + σ (1 - x t - product) / x - z to the scratch.

    What is only rounding in the bracket is left out: near the optimum z is 1e-12 where y is not small, and W
    magnifies the rounding of σ t + p - ν by as much.
    """
    probs, slacks, numbers = rows.probs, rows.slacks, rows.numbers
    prices, values = step.prices, scratch.values
    price, nu = numbers[i, HIT_PRICE], numbers[i, NU]
    pull = (1.0 - product) * numbers[i, INVERSE_HIT] - price
    for k in range(probs.shape[1]):
        slope = np.float64(probs[i, k]) * price
        residual = slope + prices[k] - nu + slacks[i, k]
        noise = ROUNDING * (slope + abs(prices[k]) + abs(nu))
        residual = residual if abs(residual) > noise else 0.0
        values[share, k] = residual + np.float64(probs[i, k]) * pull - slacks[i, k]


@inlined
def _add_system(share: int, b: int, i: int, at: int, rows: Rows, scratch: Scratch, out: System) -> None:
    """Add y and the response to the q of `_stationarity` to the sums; write the two vectors of W - N."""
    probs, labels, numbers, weights = rows.probs, rows.labels, rows.numbers, scratch.weights
    factors, vectors = out.factors, out.vectors
    for k in range(probs.shape[1]):
        vectors[b, LABELS, k] += labels[i, k]
    _add_response(share, b, i, RESPONSE, rows, scratch, vectors)
    first = 1.0 / math.sqrt(numbers[i, WEIGHT])
    second = 1.0 / math.sqrt(numbers[i, REACH])
    for k in range(probs.shape[1]):
        factors[share, at, k] = weights[share, k] * first
    for k in range(probs.shape[1]):
        centred = np.float64(probs[i, k]) * numbers[i, SCALE] - numbers[i, SLOPE]
        factors[share, at + 1, k] = weights[share, k] * centred * second


@inlined
def _add_response(
    share: int, b: int, i: int, vector: int, rows: Rows, scratch: Scratch, vectors: np.ndarray
) -> None:
    """Add dy = w e to a vector of the sums, for the q in the scratch."""
    weights, values = scratch
    _solve_row(share, i, rows, scratch)
    for k in range(values.shape[1]):
        vectors[b, vector, k] += weights[share, k] * values[share, k]


@inlined
def _solve_row(share: int, i: int, rows: Rows, scratch: Scratch) -> tuple[float, float]:
    """Turn the q in the scratch into e; return dν and α = sᵀdy."""
    probs, numbers = rows.probs, rows.numbers
    weights, values = scratch
    scale, slope = numbers[i, SCALE], numbers[i, SLOPE]
    mean = 0.0
    for k in range(probs.shape[1]):
        mean += weights[share, k] * values[share, k]
    mean /= numbers[i, WEIGHT]
    turn = 0.0
    for k in range(probs.shape[1]):
        value = values[share, k] - mean
        values[share, k] = value
        turn += weights[share, k] * value * (np.float64(probs[i, k]) * scale - slope)
    alpha = turn / numbers[i, REACH]
    for k in range(probs.shape[1]):
        values[share, k] -= alpha * (np.float64(probs[i, k]) * scale - slope)
    return mean - alpha * slope, alpha


@compiled
def predict_rows(
    share: int, first_block: int, last_block: int, rows: Rows, step: Step, scratch: Scratch, out: Prediction
) -> None:
    """The affine direction, as f = dy / y = -1 - dz / z, and what the corrector needs to know of it.

    Args:
        share, first_block, last_block, scratch: as in `assemble_rows`.
        rows: f is written to turns, dx / x to the numbers' dt.
        step: prices and affine are read.
        out: written.
    """
    rows, step, scratch = Rows(*rows), Step(*step), Scratch(*scratch)
    probs, labels, slacks, turns, numbers = rows.probs, rows.labels, rows.slacks, rows.turns, rows.numbers
    known, moves = rows.known, step.affine
    weights, values = scratch
    vectors, sums, extremes = out
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        vectors[b] = 0.0
        sums[b] = 0.0
        extremes[b] = -math.inf
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            if known[i] < 0:
                for k in range(num_clusters):
                    weights[share, k] = labels[i, k] / slacks[i, k]
                _stationarity(share, i, 0.0, rows, step, scratch)
                for k in range(num_clusters):
                    values[share, k] += moves[k]
                _, alpha = _solve_row(share, i, rows, scratch)
                first, second, low, high = _ratios(share, i, rows, values)
                # x t, dx / x and dt / t = 1 / (x t) - 1 - dx / x
                hit_product = numbers[i, HIT_PRICE] / numbers[i, INVERSE_HIT]
                ratio = alpha / math.sqrt(hit_product)
                numbers[i, HIT_MOVE] = ratio
                sums[b, FIRST] += first
                sums[b, SECOND] += second
                extremes[b, 0] = max(extremes[b, 0], low)
                extremes[b, 1] = max(extremes[b, 1], max(high, ratio - 1.0 / hit_product))
                for k in range(num_clusters):
                    vectors[b, MOVES, k] += labels[i, k] * turns[i, k]
                # The second-order terms of the corrector: dx dt, and -dy dz / y = z f (1 + f).
                pull = _hit_moves_product(i, numbers) * numbers[i, INVERSE_HIT]
                for k in range(num_clusters):
                    turn = slacks[i, k] * turns[i, k] * (1.0 + turns[i, k])
                    values[share, k] = turn - pull * np.float64(probs[i, k])
                _add_response(share, b, i, TURNED, rows, scratch, vectors)
                for k in range(num_clusters):
                    values[share, k] = 1.0 / labels[i, k]
                _add_response(share, b, i, CENTRED, rows, scratch, vectors)


@inlined
def _hit_moves_product(i: int, numbers: np.ndarray) -> float:
    """dx dt of the predictor, whose dx/x is in HIT_MOVE; the corrector's 1 - dx dt is kept away from 0."""
    ratio = numbers[i, HIT_MOVE]
    product = ratio * (1.0 - numbers[i, HIT_PRICE] / numbers[i, INVERSE_HIT] * (1.0 + ratio))
    return min(product, MOST_OF_HIT)


@inlined
def _ratios(share: int, i: int, rows: Rows, values: np.ndarray) -> tuple[float, float, float, float]:
    """Write f = e / z; return Σ y z f, Σ y z f², max -f and max f."""
    labels, slacks, turns = rows.labels, rows.slacks, rows.turns
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
    share: int, first_block: int, last_block: int, rows: Rows, step: Step, scratch: Scratch, out: np.ndarray
) -> None:
    """The direction that is taken: the corrector's dy and dz.

    Args:
        share, first_block, last_block, scratch: as in `assemble_rows`.
        rows: moves, turns (f of `predict_rows` before) and the numbers' dν and dt are written.
        step: prices, moves and centring are read.
        out: (B, 3) float64, written: the largest -dy/y, -dz/z and |dy|.
    """
    rows, step, scratch = Rows(*rows), Step(*step), Scratch(*scratch)
    probs, labels, slacks, turns, numbers = rows.probs, rows.labels, rows.slacks, rows.turns, rows.numbers
    known, moves, centring = rows.known, step.moves, step.centring
    weights, values = scratch
    num_clusters = probs.shape[1]
    for b in range(first_block, last_block):
        out[b] = 0.0
        for i in range(b * BLOCK_ROWS, min((b + 1) * BLOCK_ROWS, probs.shape[0])):
            if known[i] < 0:
                for k in range(num_clusters):
                    weights[share, k] = labels[i, k] / slacks[i, k]
                # (centring - dy dz) / y, and q
                for k in range(num_clusters):
                    turn = slacks[i, k] * turns[i, k] * (1.0 + turns[i, k])
                    turns[i, k] = centring[0] / labels[i, k] + turn
                price = numbers[i, HIT_PRICE]
                product = _hit_moves_product(i, numbers)
                _stationarity(share, i, product, rows, step, scratch)
                for k in range(num_clusters):
                    values[share, k] += moves[k] + turns[i, k]
                numbers[i, NU_MOVE], alpha = _solve_row(share, i, rows, scratch)
                turn = (1.0 - product) * numbers[i, INVERSE_HIT] - price - numbers[i, SCALE] * alpha
                numbers[i, HIT_MOVE] = turn
                out[b, 1] = max(out[b, 1], -turn / price)
                _directions(share, b, i, rows, scratch, out)


@inlined
def _directions(share: int, b: int, i: int, rows: Rows, scratch: Scratch, out: np.ndarray) -> None:
    """dy = w e and dz = (centring - dy dz) / y - z - e; how far they may go."""
    labels, slacks, moves, turns = rows.labels, rows.slacks, rows.moves, rows.turns
    weights, values = scratch
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
    out[b, 0] = max(out[b, 0], low)
    out[b, 1] = max(out[b, 1], turn_low)
    out[b, 2] = max(out[b, 2], largest)
