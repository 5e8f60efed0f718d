"""The kernels of `kernels.exact` in plain NumPy: the same arguments, no scratch, all rows of a block at once.

For a row with y >= 0, its multiplier z, x = σᵀy and the price t of x: w = y/z, s = σ √(t/x), s̄ the w-weighted
mean of s, and c = s - s̄.
"""

import numpy as np

from cce_ray.pseudo_labels.kernels.exact import (
    CENTRED,
    COLLISION,
    DUAL,
    FIRST,
    HIT_MOVE,
    HIT_PRICE,
    INVERSE_HIT,
    LABELS,
    MOST_OF_HIT,
    MOVES,
    NU,
    NU_MOVE,
    PRODUCTS,
    REACH,
    RESPONSE,
    ROUNDING,
    SCALE,
    SECOND,
    SLOPE,
    TURNED,
    WEIGHT,
    Prediction,
    Rows,
    Scratch,
    Step,
    System,
)
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR


def assemble_rows_reference(
    share: int, first_block: int, last_block: int, rows: Rows, step: Step, scratch: Scratch, out: System
) -> None:
    """`kernels.exact.assemble_rows`: the step; s, w and c; N = W - w wᵀ/Σw - (w c)(w c)ᵀ/(1 + Σ w c²)."""
    rows, step, (factors, vectors, sums) = Rows(*rows), Step(*step), out
    probs, known, prices = rows.probs, rows.known, step.prices
    for b in range(first_block, last_block):
        free, fixed = _rows_of(b, known)
        _take_step(free, rows, step.lengths)
        numbers = rows.numbers[free]
        sigma, y, z = probs[free].astype(np.float64), rows.labels[free], rows.slacks[free]
        hit, price, w = (sigma * y).sum(axis=1), numbers[:, HIT_PRICE], y / z
        scale = np.sqrt(price / hit)
        s = sigma * scale[:, None]
        slope = (w * s).sum(axis=1) / w.sum(axis=1)
        c = s - slope[:, None]
        numbers[:, INVERSE_HIT], numbers[:, SCALE], numbers[:, SLOPE] = 1.0 / hit, scale, slope
        numbers[:, WEIGHT], numbers[:, REACH] = w.sum(axis=1), 1.0 + (w * c**2).sum(axis=1)
        rows.numbers[free] = numbers

        known_logs = np.log(np.maximum(probs[fixed, known[fixed]].astype(np.float64), LOG_FLOOR))
        peak = (sigma * price[:, None] + prices).max(axis=1)
        sums[b, COLLISION] = -np.log(hit).sum() - known_logs.sum()
        sums[b, DUAL] = (1.0 + np.log(price) - peak).sum() - (known_logs + prices[known[fixed]]).sum()
        sums[b, PRODUCTS] = (y * z).sum()

        e, _, _ = _solve_rows(_stationarity(free, 0.0, rows, prices), w, c, numbers)
        vectors[b, LABELS] = y.sum(axis=0) + np.bincount(known[fixed], minlength=probs.shape[1])
        vectors[b, RESPONSE] = (w * e).sum(axis=0)
        at = 2 * (free - first_block * BLOCK_ROWS)
        factors[share, at] = w / np.sqrt(numbers[:, WEIGHT])[:, None]
        factors[share, at + 1] = w * c / np.sqrt(numbers[:, REACH])[:, None]
        at = 2 * (fixed - first_block * BLOCK_ROWS)
        factors[share, at] = factors[share, at + 1] = 0.0


def predict_rows_reference(
    share: int, first_block: int, last_block: int, rows: Rows, step: Step, scratch: Scratch, out: Prediction
) -> None:
    """`kernels.exact.predict_rows`: f = dy/y = -1 - dz/z and dx/x of the direction to y z = 0 and x t = 1."""
    rows, step, (vectors, sums, extremes) = Rows(*rows), Step(*step), out
    for b in range(first_block, last_block):
        free, _ = _rows_of(b, rows.known)
        y, z, w, c = _systems(free, rows)
        numbers = rows.numbers[free]
        residual = _stationarity(free, 0.0, rows, step.prices) + step.affine
        e, _, alpha = _solve_rows(residual, w, c, numbers)
        rows.turns[free] = f = e / z
        product = numbers[:, HIT_PRICE] / numbers[:, INVERSE_HIT]  # x t
        rows.numbers[free, HIT_MOVE] = g = alpha / np.sqrt(product)
        sums[b, FIRST], sums[b, SECOND] = (y * z * f).sum(), (y * z * f**2).sum()
        extremes[b, 0] = np.max(-f, initial=-np.inf)
        extremes[b, 1] = max(np.max(f, initial=-np.inf), np.max(g - 1.0 / product, initial=-np.inf))

        # What the products -dy dz / y and -σ dx dt / x of this direction, and 1 / y, add to q.
        pull = _hit_products(free, rows.numbers) * numbers[:, INVERSE_HIT]
        second = z * f * (1.0 + f) - rows.probs[free] * pull[:, None]
        turned, _, _ = _solve_rows(second, w, c, numbers)
        centred, _, _ = _solve_rows(1.0 / y, w, c, numbers)
        vectors[b, MOVES], vectors[b, TURNED] = (y * f).sum(axis=0), (w * turned).sum(axis=0)
        vectors[b, CENTRED] = (w * centred).sum(axis=0)


def correct_rows_reference(
    share: int, first_block: int, last_block: int, rows: Rows, step: Step, scratch: Scratch, out: np.ndarray
) -> None:
    """`kernels.exact.correct_rows`: the direction to y z = centring - dy dz and x t = 1 - dx dt."""
    rows, step = Rows(*rows), Step(*step)
    moves, turns, numbers = rows.moves, rows.turns, rows.numbers
    for b in range(first_block, last_block):
        free, _ = _rows_of(b, rows.known)
        y, z, w, c = _systems(free, rows)
        f, products = turns[free], _hit_products(free, numbers)
        target = step.centring[0] / y + z * f * (1.0 + f)
        residual = _stationarity(free, products, rows, step.prices) + step.moves + target
        e, numbers[free, NU_MOVE], alpha = _solve_rows(residual, w, c, numbers[free])
        moves[free], turns[free] = w * e, target - z - e
        price = numbers[free, HIT_PRICE]
        hit_moves = (1.0 - products) * numbers[free, INVERSE_HIT] - price - numbers[free, SCALE] * alpha
        numbers[free, HIT_MOVE] = hit_moves
        out[b, 0] = np.max(-moves[free] / y, initial=0.0)
        out[b, 1] = max(np.max(-turns[free] / z, initial=0.0), np.max(-hit_moves / price, initial=0.0))
        out[b, 2] = np.max(np.abs(moves[free]), initial=0.0)


def _rows_of(block: int, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a block's free and of its known rows."""
    rows = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(known)))
    return rows[known[rows] < 0], rows[known[rows] >= 0]


def _take_step(free: np.ndarray, rows: Rows, lengths: np.ndarray) -> None:
    """y by the first step, z, ν and t by the second; y normalised."""
    numbers = rows.numbers
    y = rows.labels[free] + lengths[0] * rows.moves[free]
    rows.labels[free] = y / y.sum(axis=1, keepdims=True)
    rows.slacks[free] += lengths[1] * rows.turns[free]
    numbers[free, NU] += lengths[1] * numbers[free, NU_MOVE]
    numbers[free, HIT_PRICE] += lengths[1] * numbers[free, HIT_MOVE]


def _systems(free: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """y, z, w and c of the free rows."""
    y, z, numbers = rows.labels[free], rows.slacks[free], rows.numbers
    c = rows.probs[free].astype(np.float64) * numbers[free, SCALE, None] - numbers[free, SLOPE, None]
    return y, z, y / z, c


def _stationarity(
    free: np.ndarray, products: np.ndarray | float, rows: Rows, prices: np.ndarray
) -> np.ndarray:
    """q = (σ t + p - ν + z) + σ (1 - x t - product) / x - z, mere rounding in the bracket left out."""
    sigma, slacks, numbers = rows.probs[free].astype(np.float64), rows.slacks[free], rows.numbers[free]
    price, nu = numbers[:, HIT_PRICE, None], numbers[:, NU, None]
    residual = sigma * price + prices - nu + slacks
    noise = ROUNDING * (sigma * price + np.abs(prices) + np.abs(nu))
    pull = (1.0 - products) * numbers[:, INVERSE_HIT] - numbers[:, HIT_PRICE]
    cleaned: np.ndarray = np.where(np.abs(residual) > noise, residual, 0.0)
    return cleaned + sigma * pull[:, None] - slacks


def _hit_products(free: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """dx dt of the affine direction, whose dx/x is g and dt/t = 1/(x t) - 1 - g, at most a half."""
    g, product = numbers[free, HIT_MOVE], numbers[free, HIT_PRICE] / numbers[free, INVERSE_HIT]
    products: np.ndarray = np.minimum(g * (1.0 - product * (1.0 + g)), MOST_OF_HIT)
    return products


def _solve_rows(
    residual: np.ndarray, w: np.ndarray, c: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """e, dν and α of dy = W e: e = q - q̄ - α c, α = Σ w c (q - q̄) / (1 + Σ w c²), dν = q̄ - α s̄."""
    mean = (w * residual).sum(axis=1) / numbers[:, WEIGHT]
    centred = residual - mean[:, None]
    alpha = (w * c * centred).sum(axis=1) / numbers[:, REACH]
    return centred - alpha[:, None] * c, mean - alpha * numbers[:, SLOPE], alpha
