import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import Case, known_cases, make_problem, predictions, priors, weights
from scipy.optimize import linprog

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.reference.mirror import mirror_blocks_reference
from cce_ray.pseudo_labels.reference.objectives import objective_reference
from cce_ray.pseudo_labels.solvers.mirror import Mirror

CASES = list(known_cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reaches_a_certified_optimum_of_5(case: Case) -> None:
    result = case.estimate(objective="shannon", max_iterations=1000, tolerance=0, gap_tolerance=1e-4)
    assert result.gap <= 1e-4


def test_tiny_fairness_leaves_the_arg_max_and_huge_fairness_is_optimal_transport() -> None:
    probs = CASES[0].probs
    points, clusters = probs.shape
    small = estimate_pseudo_labels(probs, fairness_weight=1e-6, objective="shannon").labels
    np.testing.assert_allclose(small, np.eye(clusters)[probs.argmax(axis=1)], atol=1e-9)

    options = {"objective": "shannon", "max_iterations": 20000, "tolerance": 0, "gap_tolerance": 1e-6}
    large = estimate_pseudo_labels(probs, fairness_weight=1e4, **options)
    # Loss (4)'s relaxation: min <y, -ln σ> with rows 1 and columns M/K.
    rows = np.kron(np.eye(points), np.ones(clusters))
    columns = np.kron(np.ones(points), np.eye(clusters))
    limits = np.concatenate([np.ones(points), np.full(clusters, points / clusters)])
    transport = linprog(-np.log(probs).ravel() / points, A_eq=np.vstack([rows, columns]), b_eq=limits)
    np.testing.assert_allclose(large.labels.mean(axis=0), 1 / clusters, atol=1e-3)
    assert large.objective == pytest.approx(transport.fun, abs=1e-3)


@given(probs=predictions(), weight=weights, seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_step_raises_the_loss(probs: np.ndarray, weight: float, seed: int) -> None:
    problem = make_problem(probs, weight, priors(probs.shape[1], seed))
    labels = np.maximum(probs, 1e-8)
    labels /= labels.sum(axis=1, keepdims=True)
    solver = Mirror(problem, labels, Inline())
    before = np.inf
    for _ in range(15):
        solver.advance()
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-12)
        after = objective_reference(
            probs, labels, objective="shannon", prior=problem.prior, fairness_weight=weight
        )
        assert after <= before + 1e-9 * (1 + weight)
        before = after


@given(
    probs=predictions(max_points=70),
    weight=weights,
    some_known=st.booleans(),
    zero_start=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_kernel_equals_its_reference(
    probs: np.ndarray, weight: float, some_known: bool, zero_start: bool, seed: int
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
    changes = (
        Mirror(problem, fast, Inline()).advance(),
        Mirror(problem, plain, Inline(), kernel=mirror_blocks_reference).advance(),
    )
    # ln σ / λ reaches 1e9 here, whose rounding is 1e-7.
    assert changes[0] == pytest.approx(changes[1], abs=1e-6)
    np.testing.assert_allclose(fast, plain, atol=1e-6)
    if zero_start:
        assert np.all(fast[known < 0, 0] == 0)
