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
)
from cce_ray.pseudo_labels.problem import BLOCK_ROWS, LOG_FLOOR


def assemble_rows_reference(
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
    """`kernels.exact.assemble_rows`: the step; s, w and c; N = W - w wᵀ/Σw - (w c)(w c)ᵀ/(1 + Σ w c²)."""
    for b in range(first_block, last_block):
        free, fixed = _rows_of(b, known)
        _take_step(free, steps, labels, slacks, moves, turns, rows)
        sigma, y, z = probs[free].astype(np.float64), labels[free], slacks[free]
        hit, price, w = (sigma * y).sum(axis=1), rows[free, HIT_PRICE], y / z
        scale = np.sqrt(price / hit)
        s = sigma * scale[:, None]
        slope = (w * s).sum(axis=1) / w.sum(axis=1)
        c = s - slope[:, None]
        rows[free, INVERSE_HIT], rows[free, SCALE], rows[free, SLOPE] = 1.0 / hit, scale, slope
        rows[free, WEIGHT], rows[free, REACH] = w.sum(axis=1), 1.0 + (w * c**2).sum(axis=1)

        known_logs = np.log(np.maximum(probs[fixed, known[fixed]].astype(np.float64), LOG_FLOOR))
        peak = (sigma * price[:, None] + prices).max(axis=1)
        sums[b, COLLISION] = -np.log(hit).sum() - known_logs.sum()
        sums[b, DUAL] = (1.0 + np.log(price) - peak).sum() - (known_logs + prices[known[fixed]]).sum()
        sums[b, PRODUCTS] = (y * z).sum()

        e, _, _ = _solve_rows(_stationarity(free, 0.0, probs, slacks, rows, prices), w, c, rows[free])
        vectors[b, LABELS] = y.sum(axis=0) + np.bincount(known[fixed], minlength=probs.shape[1])
        vectors[b, RESPONSE] = (w * e).sum(axis=0)
        at = 2 * (free - first_block * BLOCK_ROWS)
        factors[share, at] = w / np.sqrt(rows[free, WEIGHT])[:, None]
        factors[share, at + 1] = w * c / np.sqrt(rows[free, REACH])[:, None]
        at = 2 * (fixed - first_block * BLOCK_ROWS)
        factors[share, at] = factors[share, at + 1] = 0.0


def predict_rows_reference(
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
    """`kernels.exact.predict_rows`: f = dy/y = -1 - dz/z and dx/x of the direction to y z = 0 and x t = 1."""
    for b in range(first_block, last_block):
        free, _ = _rows_of(b, known)
        y, z, w, c = _systems(free, probs, labels, slacks, rows)
        e, _, alpha = _solve_rows(
            _stationarity(free, 0.0, probs, slacks, rows, prices) + moves, w, c, rows[free]
        )
        turns[free] = f = e / z
        product = rows[free, HIT_PRICE] / rows[free, INVERSE_HIT]  # x t
        rows[free, HIT_MOVE] = g = alpha / np.sqrt(product)
        sums[b, FIRST], sums[b, SECOND] = (y * z * f).sum(), (y * z * f**2).sum()
        extremes[b, 0] = np.max(-f, initial=-np.inf)
        extremes[b, 1] = max(np.max(f, initial=-np.inf), np.max(g - 1.0 / product, initial=-np.inf))

        # What the products -dy dz / y and -σ dx dt / x of this direction, and 1 / y, add to q.
        pull = _hit_products(free, rows) * rows[free, INVERSE_HIT]
        second = z * f * (1.0 + f) - probs[free] * pull[:, None]
        turned, _, _ = _solve_rows(second, w, c, rows[free])
        centred, _, _ = _solve_rows(1.0 / y, w, c, rows[free])
        vectors[b, MOVES], vectors[b, TURNED] = (y * f).sum(axis=0), (w * turned).sum(axis=0)
        vectors[b, CENTRED] = (w * centred).sum(axis=0)


def correct_rows_reference(
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
    """`kernels.exact.correct_rows`: the direction to y z = centring - dy dz and x t = 1 - dx dt."""
    for b in range(first_block, last_block):
        free, _ = _rows_of(b, known)
        y, z, w, c = _systems(free, probs, labels, slacks, rows)
        f, products = turns[free], _hit_products(free, rows)
        target = centring[0] / y + z * f * (1.0 + f)
        residual = _stationarity(free, products, probs, slacks, rows, prices) + moves_of_prices + target
        e, rows[free, NU_MOVE], alpha = _solve_rows(residual, w, c, rows[free])
        moves[free], turns[free] = w * e, target - z - e
        price = rows[free, HIT_PRICE]
        hit_moves = (1.0 - products) * rows[free, INVERSE_HIT] - price - rows[free, SCALE] * alpha
        rows[free, HIT_MOVE] = hit_moves
        extremes[b, 0] = np.max(-moves[free] / y, initial=0.0)
        extremes[b, 1] = max(np.max(-turns[free] / z, initial=0.0), np.max(-hit_moves / price, initial=0.0))
        extremes[b, 2] = np.max(np.abs(moves[free]), initial=0.0)


def _rows_of(block: int, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a block's free and of its known rows."""
    rows = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(known)))
    return rows[known[rows] < 0], rows[known[rows] >= 0]


def _take_step(
    free: np.ndarray,
    steps: np.ndarray,
    labels: np.ndarray,
    slacks: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    rows: np.ndarray,
) -> None:
    """y by the first step, z, ν and t by the second; y normalised."""
    y = labels[free] + steps[0] * moves[free]
    labels[free] = y / y.sum(axis=1, keepdims=True)
    slacks[free] += steps[1] * turns[free]
    rows[free, NU] += steps[1] * rows[free, NU_MOVE]
    rows[free, HIT_PRICE] += steps[1] * rows[free, HIT_MOVE]


def _systems(
    free: np.ndarray, probs: np.ndarray, labels: np.ndarray, slacks: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """y, z, w and c of the free rows."""
    y, z = labels[free], slacks[free]
    c = probs[free].astype(np.float64) * rows[free, SCALE, None] - rows[free, SLOPE, None]
    return y, z, y / z, c


def _stationarity(
    free: np.ndarray,
    products: np.ndarray | float,
    probs: np.ndarray,
    slacks: np.ndarray,
    rows: np.ndarray,
    prices: np.ndarray,
) -> np.ndarray:
    """q = (σ t + p - ν + z) + σ (1 - x t - product) / x - z, mere rounding in the bracket left out."""
    sigma, price, nu = probs[free].astype(np.float64), rows[free, HIT_PRICE, None], rows[free, NU, None]
    residual = sigma * price + prices - nu + slacks[free]
    noise = ROUNDING * (sigma * price + np.abs(prices) + np.abs(nu))
    pull = (1.0 - products) * rows[free, INVERSE_HIT] - rows[free, HIT_PRICE]
    wanted: np.ndarray = np.where(np.abs(residual) > noise, residual, 0.0)
    return wanted + sigma * pull[:, None] - slacks[free]


def _hit_products(free: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """dx dt of the affine direction, whose dx/x is g and dt/t = 1/(x t) - 1 - g, at most a half."""
    g, product = rows[free, HIT_MOVE], rows[free, HIT_PRICE] / rows[free, INVERSE_HIT]
    products: np.ndarray = np.minimum(g * (1.0 - product * (1.0 + g)), MOST_OF_HIT)
    return products


def _solve_rows(
    residual: np.ndarray, w: np.ndarray, c: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """e, dν and α of dy = W e: e = q - q̄ - α c, α = Σ w c (q - q̄) / (1 + Σ w c²), dν = q̄ - α s̄."""
    mean = (w * residual).sum(axis=1) / rows[:, WEIGHT]
    centred = residual - mean[:, None]
    alpha = (w * c * centred).sum(axis=1) / rows[:, REACH]
    return centred - alpha[:, None] * c, mean - alpha * rows[:, SLOPE], alpha
