"""The certificate as Numba kernels; `certificate.certified_gap_reference` is the readable twin."""

import math

import numpy as np

from cce_ray.pseudo_labels.jit import compiled
from cce_ray.pseudo_labels.problem import LOG_FLOOR

_MAX_CUTS = 64  # each cut finds a new class on the upper hull; two or three are usual


@compiled
def collision_gaps(probs: np.ndarray, labels: np.ndarray, known: np.ndarray, prices: np.ndarray) -> float:
    """Σ_i [(-ln σᵀy - pᵀy) - min over the simplex], rows with a known class left out (their gap is zero)."""
    total = 0.0
    for i in range(probs.shape[0]):
        if known[i] < 0:
            hit = 0.0
            paid = 0.0
            for k in range(probs.shape[1]):
                hit += np.float64(probs[i, k]) * np.float64(labels[i, k])
                paid += prices[k] * np.float64(labels[i, k])
            total += -math.log(max(hit, LOG_FLOOR)) - paid - collision_minimum(i, probs, prices)
    return total


@compiled
def collision_minimum(i: int, probs: np.ndarray, prices: np.ndarray) -> float:
    """max_{t>0} 1 + ln t - max_k (σ_k t + p_k) of row i: min_y -ln σᵀy - pᵀy from below, by cutting planes.

    Two lines are kept: `left` rises slower than ln t at the optimum, `right` faster. The best t of these two
    either is the optimum or shows a higher line, which replaces the one on its side.
    """
    right = 0
    for k in range(1, probs.shape[1]):
        if probs[i, k] > probs[i, right] or (probs[i, k] == probs[i, right] and prices[k] > prices[right]):
            right = k
    left = _highest_line(i, 1.0 / np.float64(probs[i, right]), probs, prices)
    best = -math.inf
    for _ in range(_MAX_CUTS):
        low, high = np.float64(probs[i, left]), np.float64(probs[i, right])
        point = 1.0 / high
        if low < high:
            crossing = (prices[left] - prices[right]) / (high - low)
            point = 1.0 / low if low * crossing >= 1.0 else max(point, crossing)
        top = _highest_line(i, point, probs, prices)
        height = np.float64(probs[i, top]) * point + prices[top]
        best = max(best, 1.0 + math.log(point) - height)
        if top in (left, right) or height <= max(low * point + prices[left], high * point + prices[right]):
            break
        if np.float64(probs[i, top]) * point <= 1.0:
            left = top
        else:
            right = top
    return best


@compiled
def _highest_line(i: int, point: float, probs: np.ndarray, prices: np.ndarray) -> int:
    """arg max_k σ_k t + p_k."""
    top = 0
    height = -math.inf
    for k in range(probs.shape[1]):
        value = np.float64(probs[i, k]) * point + prices[k]
        if value > height:
            height = value
            top = k
    return top


@compiled
def shannon_gaps(probs: np.ndarray, labels: np.ndarray, known: np.ndarray, prices: np.ndarray) -> float:
    """Σ_i [Σ_k y_ik c_ik - min_k c_ik] with c_ik = -ln σ_ik - p_k, rows with a known class left out."""
    total = 0.0
    for i in range(probs.shape[0]):
        if known[i] < 0:
            value = 0.0
            least = math.inf
            for k in range(probs.shape[1]):
                cost = -math.log(max(np.float64(probs[i, k]), LOG_FLOOR)) - prices[k]
                value += cost * np.float64(labels[i, k])
                least = min(least, cost)
            total += value - least
    return total
