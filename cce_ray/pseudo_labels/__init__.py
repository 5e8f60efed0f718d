"""Estimating pseudo-labels y from predictions σ: solvers, and a certificate of how good their answer is.

Importing this package compiles nothing and loads neither numba nor torch; the first estimation does.
"""

from cce_ray.pseudo_labels.estimate import estimate_pseudo_labels
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.pseudo_labels.settings import PseudoLabelSettings
from cce_ray.pseudo_labels.solvers import SOLVERS

__all__ = [
    "OBJECTIVES",
    "SOLVERS",
    "PseudoLabelSettings",
    "PseudoLabels",
    "estimate_pseudo_labels",
]
