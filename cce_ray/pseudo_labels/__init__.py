"""Estimating pseudo-labels y from predictions σ: solvers, and a certificate of how good their answer is.

Importing this package compiles nothing and loads neither numba nor torch; the first estimation does.
"""

from cce_ray.pseudo_labels.driver import Solver
from cce_ray.pseudo_labels.em import EM
from cce_ray.pseudo_labels.em_accelerated import EMAccelerated
from cce_ray.pseudo_labels.estimate import estimate_pseudo_labels
from cce_ray.pseudo_labels.exact import Exact
from cce_ray.pseudo_labels.mirror import Mirror
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.pgd import PGD
from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.pseudo_labels.settings import PseudoLabelSettings

SOLVERS: dict[str, type[Solver]] = {
    "em": EM,
    "em_accelerated": EMAccelerated,
    "exact": Exact,
    "pgd": PGD,
    "mirror": Mirror,
}

__all__ = [
    "OBJECTIVES",
    "SOLVERS",
    "PseudoLabelSettings",
    "PseudoLabels",
    "estimate_pseudo_labels",
]
