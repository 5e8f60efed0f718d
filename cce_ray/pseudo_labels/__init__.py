"""Estimating pseudo-labels y from predictions σ: solvers, and a certificate of how good their answer is.

Importing this package compiles nothing and loads neither numba nor torch; the first estimation does.
"""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.pseudo_labels.arrays import for_kernels, one_line
from cce_ray.pseudo_labels.certificate import certified_gap
from cce_ray.pseudo_labels.checks import check_limits, check_prior, check_slack, check_weight, start_rows
from cce_ray.pseudo_labels.choice import can_solve, solvers_for
from cce_ray.pseudo_labels.estimate import estimate_pseudo_labels
from cce_ray.pseudo_labels.mappers import Inline, available_cores, choose_mapper, num_threads
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import Problem, group_blocks, group_rows
from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.pseudo_labels.settings import PseudoLabelSettings
from cce_ray.pseudo_labels.solvers import SOLVERS
from cce_ray.pseudo_labels.solvers.abilities import Task
from cce_ray.pseudo_labels.solvers.closed_form import balanced_labels
from cce_ray.pseudo_labels.solvers.driver import Limits
from cce_ray.pseudo_labels.solvers.em import OBJECTIVE
from cce_ray.pseudo_labels.solvers.em_rows import EMRows, Rows
from cce_ray.pseudo_labels.solvers.sinkhorn import hardened, sinkhorn
from cce_ray.pseudo_labels.solvers.spread import GatheredRows, SpreadResult, estimate_spread, group_range

if TYPE_CHECKING:
    from cce_ray.pseudo_labels.kernels.jit import compiled, compiled_strictly
else:
    __getattr__ = lazy(
        __name__,
        {
            "kernels.jit": ["compiled", "compiled_strictly"],
        },
    )


__all__ = [
    "OBJECTIVE",
    "OBJECTIVES",
    "SOLVERS",
    "EMRows",
    "GatheredRows",
    "Inline",
    "Limits",
    "Problem",
    "PseudoLabelSettings",
    "PseudoLabels",
    "Rows",
    "SpreadResult",
    "Task",
    "available_cores",
    "balanced_labels",
    "can_solve",
    "certified_gap",
    "check_limits",
    "check_prior",
    "check_slack",
    "check_weight",
    "choose_mapper",
    "compiled",
    "compiled_strictly",
    "estimate_pseudo_labels",
    "estimate_spread",
    "for_kernels",
    "group_blocks",
    "group_range",
    "group_rows",
    "hardened",
    "num_threads",
    "one_line",
    "sinkhorn",
    "solvers_for",
    "start_rows",
]
