"""Objective and gap of labels that another process has estimated."""

from __future__ import annotations

import numpy as np

from cce_ray.methods import MethodSettings
from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings, estimate_pseudo_labels


def judged(
    method: MethodSettings,
    settings: PseudoLabelSettings,
    probs: np.ndarray,
    prior: np.ndarray | None,
    labels: np.ndarray,
    progress: tuple[int, float],
    known_labels: np.ndarray | None = None,
) -> PseudoLabels:
    """Labels that were estimated elsewhere as if they had been estimated here."""

    def look() -> PseudoLabels:
        return estimate_pseudo_labels(
            probs,
            **method.objective_terms,
            prior=settings.given_prior if prior is None else prior,
            prior_slack=settings.prior_slack,
            init=labels,
            known_labels=known_labels,
            max_iterations=0,
            backend="inline",
        )

    return PseudoLabels(
        labels, lambda: look().objective, lambda: look().gap, progress, lambda: "max_iterations"
    )
