"""The three objectives as functions of the cluster means ȳ, and the prices that linearise them.

Every solver and the certificate use an objective only through its prices p = -∂fairness/∂ȳ, a K-vector.

With a slack ε > 0 the prior may be missed: the fairness becomes its minimum over the shares v of
`prior.wanted_shares`, min_v KL(v‖ȳ) or min_v KL(ȳ‖v), which stays convex in ȳ (KL is jointly convex). Its
derivative is that at the minimising v (the envelope theorem), so v takes the place of u in the prices and
nothing else changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from cce_ray.pseudo_labels.prior import wanted_shares
from cce_ray.pseudo_labels.problem import EMPTY_SHARE, MEAN_FLOOR

Vector = np.ndarray


@final
@dataclass(frozen=True)
class Objective:
    """mean_i data(y_i, σ_i) + fairness(ȳ)."""

    data: Literal["collision", "shannon"]
    """H₂(y, σ) of (9) or H(y, σ) of (8)."""
    fairness: Callable[[Vector, Vector, float, float], float]
    """(ȳ, u, λ, ε) -> value."""
    prices: Callable[[Vector, Vector, float, float], Vector]
    """(ȳ, u, λ, ε) -> p, (K,), finite."""
    correction: Callable[[Vector, Vector, float], float]
    """(ȳ, u, λ) -> what the fairness terms leave of the certificate at these prices, ~0."""
    excess: Callable[[Vector, Vector, Vector, float], float]
    """(ȳ, p, u, λ) -> the same at any prices p, without slack."""
    needs_positive_prior: bool
    """KL(ȳ‖u) is infinite where u_k = 0; KL(u‖ȳ) does not look there."""


def _reverse_fairness(mean: Vector, prior: Vector, weight: float, slack: float = 0.0) -> float:
    """λ (KL(v‖ȳ) - Σ u_k ln u_k), which is -λ Σ u_k ln ȳ_k without slack: the fairness of (11) without its
    constant; infinite for an empty wanted class."""
    if slack == 0:
        wanted = prior > 0
        if np.any(mean[wanted] <= 0):
            return float("inf")
        return float(-weight * np.sum(prior[wanted] * np.log(mean[wanted])))
    floored = np.maximum(mean, MEAN_FLOOR)
    shares = wanted_shares(floored, prior, slack)
    if np.any((mean <= 0) & (shares > EMPTY_SHARE)):
        return float("inf")
    return float(weight * (_negative_entropy(shares, floored) - _negative_entropy(prior)))


def _negative_entropy(shares: Vector, reference: Vector | float = 1.0) -> float:
    """Σ v ln (v / reference), with 0 ln 0 = 0."""
    return float(np.sum(shares * np.log(np.where(shares > 0, shares / reference, 1.0))))


def reverse_prices(mean: Vector, prior: Vector, weight: float, slack: float = 0.0) -> Vector:
    """λ v_k / ȳ_k (v = u without slack), so that a_ik = λ M u_k S_ik of the M-step is p_k y_ik."""
    floored = np.maximum(mean, MEAN_FLOOR)
    prices: Vector = (weight * wanted_shares(floored, prior, slack)) / floored
    return prices


def _forward_fairness(mean: Vector, prior: Vector, weight: float, slack: float = 0.0) -> float:
    """λ KL(ȳ‖v) of (10) and (5), v = u without slack."""
    shares = wanted_shares(np.maximum(mean, EMPTY_SHARE), prior, slack)
    return float(weight * np.sum(mean * np.log(np.maximum(mean, MEAN_FLOOR) / shares)))


def forward_prices(mean: Vector, prior: Vector, weight: float, slack: float = 0.0) -> Vector:
    """-λ ln(ȳ_k / v_k), v = u without slack; the constant -λ of the derivative moves no minimiser.

    At small λ the best ȳ_k is e^(-1/λ), which no label can hold: a share below `EMPTY_SHARE` counts as that.
    """
    floored = np.maximum(mean, EMPTY_SHARE)
    prices: Vector = -weight * np.log(floored / wanted_shares(floored, prior, slack))
    return prices


def _no_correction(mean: Vector, prior: Vector, weight: float) -> float:
    """The fairness terms of the certificate cancel at the prices λ u_k / ȳ_k."""
    return 0.0


def _forward_correction(mean: Vector, prior: Vector, weight: float) -> float:
    """pᵀȳ + λ KL(ȳ‖u) + λ ln Σ u_k e^(-p_k/λ) at `forward_prices`: λ (KL(ȳ‖q) + ln Σ q), q the floored ȳ."""
    floored = np.maximum(mean, EMPTY_SHARE)
    divergence = np.sum(mean * np.log(np.maximum(mean, MEAN_FLOOR) / floored))
    return float(weight * (divergence + np.log(floored.sum())))


def _reverse_excess(mean: Vector, prices: Vector, prior: Vector, weight: float) -> float:
    """-λ Σ u_k ln ȳ_k + pᵀȳ - (λ Σ u_k ln(p_k / (λ u_k)) + λ); infinite for p that bounds nothing."""
    wanted = prior > 0
    if prices.min() < 0 or prices[wanted].min() <= 0:
        return float("inf")
    ratio = prices[wanted] * mean[wanted] / (weight * prior[wanted])
    return float(prices @ mean - weight - weight * (prior[wanted] @ np.log(ratio)))


def _forward_excess(mean: Vector, prices: Vector, prior: Vector, weight: float) -> float:
    """λ KL(ȳ‖u) + pᵀȳ + λ ln Σ u_k e^(-p_k/λ)."""
    exponents = -prices / weight
    peak = exponents.max()
    bound = peak + np.log(prior @ np.exp(exponents - peak))
    value = mean @ np.log(np.maximum(mean, MEAN_FLOOR) / prior)
    return float(prices @ mean + weight * (value + bound))


OBJECTIVES: dict[str, Objective] = {
    "cce_plus": Objective(
        "collision", _reverse_fairness, reverse_prices, _no_correction, _reverse_excess, False
    ),
    "cce": Objective(
        "collision", _forward_fairness, forward_prices, _forward_correction, _forward_excess, True
    ),
    "shannon": Objective(
        "shannon", _forward_fairness, forward_prices, _forward_correction, _forward_excess, True
    ),
}
