"""What `estimate_pseudo_labels` demands of its arguments: one line names argument, value and remedy."""

import math
from numbers import Real
from typing import Any

import numpy as np

from cce_ray.pseudo_labels.arrays import for_kernels, one_line, to_array, to_floating
from cce_ray.pseudo_labels.mappers import MAPPERS
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import START_FLOOR, Problem
from cce_ray.pseudo_labels.solvers import SOLVERS
from cce_ray.pseudo_labels.solvers.driver import Limits

# How far a row may be from summing to one: softmax in single and in half precision.
SUM_TOLERANCE = 1e-3
SUM_TOLERANCE_HALF = 2e-2
# Values of λ: beyond them one of the objective's two terms is less than the other's rounding.
WEIGHTS = (1e-12, 1e12)


def check_limits(max_iterations: int, tolerance: float, gap_tolerance: float | None) -> Limits:
    if not isinstance(max_iterations, int | np.integer) or max_iterations < 0:
        raise ValueError(
            f"max_iterations: {one_line(max_iterations)} is not an integer >= 0; give a limit such as 100"
        )
    if not (_is_number(tolerance) and tolerance >= 0):
        raise ValueError(
            f"tolerance: {one_line(tolerance)} is not >= 0; give max |Δy| to stop at, such as 1e-4"
        )
    if gap_tolerance is not None and not (_is_number(gap_tolerance) and gap_tolerance >= 0):
        raise ValueError(
            f"gap_tolerance: {one_line(gap_tolerance)} is not >= 0; give a gap such as 1e-3, or None"
        )
    return Limits(int(max_iterations), float(tolerance), gap_tolerance)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_names(objective: str, solver: str, backend: str) -> None:
    for name, value, known in (
        ("objective", objective, tuple(OBJECTIVES)),
        ("solver", solver, ("auto", *SOLVERS)),
        ("backend", backend, ("auto", "gpu", *MAPPERS)),
    ):
        if not (isinstance(value, str) and value in known):
            raise ValueError(f"{name}: {one_line(value)} is unknown; choose one of {', '.join(known)}")


def check_slack(prior_slack: float) -> None:
    if not (_is_number(prior_slack) and 0 <= prior_slack < math.inf):
        raise ValueError(
            f"prior_slack: {one_line(prior_slack)} is not a number >= 0; give how far shares may miss the "
            "prior, such as 0.5, or 0"
        )


def check_problem(
    array: np.ndarray,
    fairness_weight: float,
    objective: str,
    prior: Any,
    prior_slack: float,
    known_labels: Any,
) -> Problem:
    """Everything but the names, the slack and the rows' values, which `start_labels` looks at."""
    check_shape(array.shape)
    check_weight(fairness_weight)
    return Problem(
        to_floating(array, "probs"),
        check_prior(prior, array.shape[1], objective),
        float(fairness_weight),
        check_known(known_labels, *array.shape),
        float(prior_slack),
    )


def check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] < 1:
        raise ValueError(f"probs: shape {shape} is not (points, clusters); give one row a point")
    if shape[1] < 2:
        raise ValueError(f"probs: {shape[1]} column(s) make no clustering; give at least 2 clusters")


def check_weight(fairness_weight: float) -> None:
    least, most = WEIGHTS
    if not (_is_number(fairness_weight) and least <= fairness_weight <= most):
        raise ValueError(
            f"fairness_weight: {one_line(fairness_weight)} is no number from {least:g} to {most:g}; "
            "give λ, such as 10"
        )


def check_prior(prior: Any, num_clusters: int, objective: str) -> np.ndarray:
    if prior is None:
        return np.full(num_clusters, 1.0 / num_clusters)
    given = to_array(prior, "prior")[0]
    if given.shape != (num_clusters,):
        raise ValueError(
            f"prior: shape {given.shape} does not fit {num_clusters} clusters; give ({num_clusters},)"
        )
    if given.dtype.kind not in "fiu":
        raise ValueError(f"prior: dtype {given.dtype} is not a real type; give probabilities as float64")
    weights = given.astype(np.float64)
    if not np.all(np.isfinite(weights)) or weights.min() < 0 or abs(weights.sum() - 1.0) > SUM_TOLERANCE:
        raise ValueError(
            f"prior: sums to {weights.sum():.6g}, smallest {weights.min():.6g}; give probabilities (sum 1)"
        )
    if OBJECTIVES[objective].needs_positive_prior and weights.min() == 0:
        raise ValueError(
            f"prior: 0 for cluster {weights.argmin()} makes {objective!r} infinite; use 'cce_plus' or drop it"
        )
    return weights / weights.sum()


def check_known(known_labels: Any, num_points: int, num_clusters: int) -> np.ndarray:
    if known_labels is None:
        return np.full(num_points, -1, dtype=np.int64)
    known = to_array(known_labels, "known_labels")[0]
    if known.shape != (num_points,):
        raise ValueError(
            f"known_labels: shape {known.shape} does not fit {num_points} points; give ({num_points},)"
        )
    if known.dtype.kind not in "iu":
        raise ValueError(
            f"known_labels: dtype {known.dtype} is not an integer type; give int64, -1 for unknown"
        )
    bad = np.flatnonzero((known < -1) | (known >= num_clusters))
    if bad.size:
        raise ValueError(
            f"known_labels: {known[bad[0]]} at row {bad[0]} is no class; give 0..{num_clusters - 1} or -1"
        )
    return for_kernels(known, np.int64)


def start_rows(probs: np.ndarray, first_row: int) -> np.ndarray:
    """The start y of rows of σ from row `first_row` of a problem on. ValueError if one is no distribution."""
    labels = np.empty_like(probs)
    _fill(probs, "probs", START_FLOOR, False, labels, first_row)
    return labels


def start_labels(problem: Problem, probs: Any, init: Any, double: bool) -> np.ndarray:
    """Check the rows of σ, given as `probs`, and write the start y, in σ's dtype or in float64."""
    labels = np.empty_like(problem.probs, dtype=np.float64 if double else None)
    _fill(problem.probs, "probs", START_FLOOR, _is_half(probs), labels)
    if init is not None:
        given, _ = to_array(init, "init")
        if given.shape != labels.shape:
            raise ValueError(f"init: shape {given.shape} is not that of probs; give {labels.shape}")
        _fill(to_floating(given, "init"), "init", 0.0, _is_half(init), labels)
    rows = np.flatnonzero(problem.known >= 0)
    if rows.size:
        labels[rows] = 0
        labels[rows, problem.known[rows]] = 1
    return labels


def _fill(
    source: np.ndarray, name: str, floor: float, half: bool, labels: np.ndarray, first_row: int = 0
) -> None:
    from cce_ray.pseudo_labels.kernels import blocks as blocks_kernel

    tolerance = SUM_TOLERANCE_HALF if half else SUM_TOLERANCE
    verdict, found = blocks_kernel.start_rows(source, floor, tolerance, labels)
    row = first_row + found
    if verdict == blocks_kernel.ROW_NOT_FINITE:
        raise ValueError(
            f"{name}: row {row} holds NaN or infinity; check the model's outputs (a lower learning rate?)"
        )
    if verdict == blocks_kernel.ROW_NEGATIVE:
        raise ValueError(
            f"{name}: row {row} holds {source[found].min():.6g} < 0; give probabilities (softmax of logits)"
        )
    if verdict == blocks_kernel.ROW_SUM:
        total = source[found].sum(dtype=np.float64)
        raise ValueError(
            f"{name}: row {row} sums to {total:.6g}, not 1; give probabilities (softmax of logits)"
        )


def _is_half(values: Any) -> bool:
    """Whether these are float16 or bfloat16, arrays or tensors."""
    return str(getattr(values, "dtype", "")) in ("float16", "torch.float16", "torch.bfloat16")
