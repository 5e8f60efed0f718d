"""Estimating pseudo-labels y from predictions σ: solvers, and a certificate of how good their answer is.

Importing this package compiles nothing and loads neither numba nor torch; the first estimation does.
"""

from cce_ray.pseudo_labels.choice import can_solve, solvers_for
from cce_ray.pseudo_labels.estimate import estimate_pseudo_labels
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.pseudo_labels.settings import PseudoLabelSettings
from cce_ray.pseudo_labels.solvers import SOLVERS
from cce_ray.pseudo_labels.solvers.abilities import Task

__all__ = [
    "OBJECTIVES",
    "SOLVERS",
    "PseudoLabelSettings",
    "PseudoLabels",
    "Task",
    "can_solve",
    "estimate_pseudo_labels",
    "solvers_for",
]
