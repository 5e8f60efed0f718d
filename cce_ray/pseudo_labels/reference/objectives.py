"""The objectives' values in plain NumPy."""

import numpy as np

from cce_ray.pseudo_labels.objectives import OBJECTIVES, Vector
from cce_ray.pseudo_labels.problem import LOG_FLOOR


def data_value_reference(probs: np.ndarray, labels: np.ndarray, data: str) -> float:
    """mean_i H₂(y_i, σ_i) (9) or mean_i H(y_i, σ_i) (8), natural logarithms, float64.

    Args:
        probs: σ, (M, K).
        labels: y, (M, K).
        data: "collision" or "shannon".
    """
    sigma, y = probs.astype(np.float64), labels.astype(np.float64)
    if data == "collision":
        return float(-np.log(np.maximum((sigma * y).sum(axis=1), LOG_FLOOR)).mean())
    return float(-(y * np.log(np.maximum(sigma, LOG_FLOOR))).sum(axis=1).mean())


def objective_reference(
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    objective: str,
    prior: Vector,
    fairness_weight: float,
    prior_slack: float = 0.0,
) -> float:
    """The value of (12), (10) or (5) with weight λ at y; plain NumPy."""
    chosen = OBJECTIVES[objective]
    mean = labels.astype(np.float64).mean(axis=0)
    fairness = chosen.fairness(mean, prior, fairness_weight, prior_slack)
    return data_value_reference(probs, labels, chosen.data) + fairness
