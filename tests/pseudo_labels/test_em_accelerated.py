import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import Case, known_cases, make_problem, predictions, priors, weights

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.reference.extrapolation import extrapolate_reference, measure_reference
from cce_ray.pseudo_labels.reference.objectives import objective_reference
from cce_ray.pseudo_labels.solvers.em_accelerated import EMAccelerated

CASES = list(known_cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reaches_the_optimum_in_a_fraction_of_em_iterations(case: Case) -> None:
    options = {"max_iterations": 20_000, "tolerance": 0, "gap_tolerance": 1e-3}
    plain = case.estimate(solver="em", **options)
    fast = case.estimate(solver="em_accelerated", **options)
    assert fast.reason == "gap" and fast.gap <= 1e-3
    assert fast.objective - case.optimum <= 1e-3 + case.certified_gap
    assert fast.iterations <= max(20, plain.iterations // 2)


def test_first_two_iterations_are_em_itself_up_to_the_jump() -> None:
    case = CASES[0]
    plain = case.estimate(solver="em", max_iterations=1, tolerance=0)
    assert np.array_equal(
        case.estimate(solver="em_accelerated", max_iterations=1, tolerance=0).labels, plain.labels
    )


@given(probs=predictions(), weight=weights, dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=60)
def test_rows_stay_on_the_simplex_and_the_objective_never_rises(
    probs: np.ndarray, weight: float, dtype: type
) -> None:
    problem = make_problem(probs.astype(dtype), weight, priors(probs.shape[1], seed=len(probs)))
    labels = np.maximum(problem.probs, dtype(1e-8))
    labels /= labels.sum(axis=1, keepdims=True)
    solver = EMAccelerated(problem, labels, Inline())
    rounding = 30 * np.finfo(dtype).eps * (1 + weight)
    before = np.inf
    for _ in range(12):
        solver.advance()
        assert np.all(labels > 0)
        np.testing.assert_allclose(labels.sum(axis=1, dtype=np.float64), 1, atol=20 * np.finfo(dtype).eps)
        after = objective_reference(
            problem.probs, labels, objective="cce_plus", prior=problem.prior, fairness_weight=weight
        )
        assert after <= before + rounding + abs(after) * np.finfo(dtype).eps
        before = after


@given(
    probs=predictions(max_points=140),
    weight=weights,
    zero_start=st.booleans(),
    some_known=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_kernels_equal_their_references(
    probs: np.ndarray, weight: float, zero_start: bool, some_known: bool, seed: int
) -> None:
    points, clusters = probs.shape
    random = np.random.default_rng(seed)
    known = random.integers(-1, clusters, size=points) if some_known else np.full(points, -1)
    start = random.dirichlet(np.ones(clusters), size=points)
    if zero_start:
        start[:, 0] = 0
        start /= start.sum(axis=1, keepdims=True)
    start = np.where((known >= 0)[:, None], np.eye(clusters)[known], start)
    problem = make_problem(probs, weight, priors(clusters, seed), known)
    fast, plain = start.copy(), start.copy()
    solvers = [
        EMAccelerated(problem, fast, Inline()),
        EMAccelerated(problem, plain, Inline(), kernels=(measure_reference, extrapolate_reference)),
    ]
    for _ in range(2):
        for solver in solvers:
            solver.advance()
    np.testing.assert_allclose(fast, plain, atol=1e-6)
    assert np.array_equal(fast[known >= 0], start[known >= 0])


def test_a_prior_that_may_be_missed() -> None:
    probs = CASES[2].probs
    options = {"fairness_weight": 10.0, "prior_slack": 0.3, "max_iterations": 5000, "tolerance": 0}
    fast = estimate_pseudo_labels(probs, solver="em_accelerated", gap_tolerance=1e-3, **options)
    plain = estimate_pseudo_labels(probs, solver="em", gap_tolerance=1e-3, **options)
    assert abs(fast.objective - plain.objective) <= 1e-3
