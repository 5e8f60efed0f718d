"""The certificate as Numba kernels; `reference.certificate.certified_gap_reference` is the readable twin."""

import math

import numpy as np

from cce_ray.pseudo_labels.kernels.jit import compiled, inlined, larger
from cce_ray.pseudo_labels.problem import LOG_FLOOR

_MAX_CUTS = 64  # each cut finds a new class on the upper hull; two or three are usual


@compiled
def collision_gaps(
    probs: np.ndarray, labels: np.ndarray, known: np.ndarray, prices: np.ndarray, rows: int, gaps: np.ndarray
) -> None:
    """Σ_i [(-ln σᵀy - pᵀy) - min over the simplex], rows with a known class left out (their gap is zero).

    Written to `gaps`, (groups,), for each group of `rows` rows.
    """
    for g in range(gaps.shape[0]):
        total = 0.0
        for i in range(g * rows, min((g + 1) * rows, probs.shape[0])):
            if known[i] < 0:
                hit = 0.0
                paid = 0.0
                for k in range(probs.shape[1]):
                    hit += np.float64(probs[i, k]) * np.float64(labels[i, k])
                    paid += prices[k] * np.float64(labels[i, k])
                total += -math.log(max(hit, LOG_FLOOR)) - paid - collision_minimum(i, probs, prices)
        gaps[g] = total


@inlined
def collision_minimum(i: int, probs: np.ndarray, prices: np.ndarray) -> float:
    """max_{t>0} 1 + ln t - max_k (σ_k t + p_k) of row i: min_y -ln σᵀy - pᵀy from below, by cutting planes.

    Two lines are kept: `left` rises slower than ln t at the optimum, `right` faster. The best t of these two
    either is the optimum or shows a higher line, which replaces the one on its side.
    """
    right = np.float64(probs[i, 0])
    for k in range(probs.shape[1]):
        right = larger(right, np.float64(probs[i, k]))
    right_price = -math.inf
    for k in range(probs.shape[1]):
        right_price = larger(right_price, prices[k] if probs[i, k] == right else -math.inf)
    left, height = _highest_line(i, 1.0 / right, probs, prices)
    left_price = height - left / right
    best = -height - math.log(right) + 1.0
    for _ in range(_MAX_CUTS):
        point = 1.0 / right
        if left < right:
            crossing = (left_price - right_price) / (right - left)
            point = 1.0 / left if left * crossing >= 1.0 else max(point, crossing)
        slope, height = _highest_line(i, point, probs, prices)
        best = max(best, 1.0 + math.log(point) - height)
        known = max(left * point + left_price, right * point + right_price)
        if slope in (left, right) or slope < 0.0 or height <= known:
            break
        if slope * point <= 1.0:
            left = slope
            left_price = height - slope * point
        else:
            right = slope
            right_price = height - slope * point
    return best


@inlined
def _highest_line(i: int, point: float, probs: np.ndarray, prices: np.ndarray) -> tuple[float, float]:
    """The slope σ_k of the highest line at t, -1 where rounding hides it, and max_k σ_k t + p_k.

    Two loops, as LLVM vectorises none that keeps the place of a maximum.
    """
    height = -math.inf
    for k in range(probs.shape[1]):
        height = larger(height, np.float64(probs[i, k]) * point + prices[k])
    slope = -1.0
    for k in range(probs.shape[1]):
        sigma = np.float64(probs[i, k])
        slope = larger(slope, sigma if sigma * point + prices[k] >= height else -1.0)
    return slope, height


@compiled
def shannon_gaps(
    probs: np.ndarray, labels: np.ndarray, known: np.ndarray, prices: np.ndarray, rows: int, gaps: np.ndarray
) -> None:
    """As `collision_gaps`: Σ_i [Σ_k y_ik c_ik - min_k c_ik] with c_ik = -ln σ_ik - p_k."""
    for g in range(gaps.shape[0]):
        total = 0.0
        for i in range(g * rows, min((g + 1) * rows, probs.shape[0])):
            if known[i] < 0:
                value = 0.0
                least = math.inf
                for k in range(probs.shape[1]):
                    cost = -math.log(max(np.float64(probs[i, k]), LOG_FLOOR)) - prices[k]
                    value += cost * np.float64(labels[i, k])
                    least = min(least, cost)
                total += value - least
        gaps[g] = total
