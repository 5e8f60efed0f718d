import weakref
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import Case, known_cases, make_problem, predictions, priors, weights

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.reference.em import em_blocks_reference, m_step_reference
from cce_ray.pseudo_labels.reference.objectives import objective_reference
from cce_ray.pseudo_labels.solvers import em_rows
from cce_ray.pseudo_labels.solvers.em import EM
from cce_ray.pseudo_labels.solvers.em_rows import EMRows

CASES = list(known_cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestKnownAnswers:
    def test_labels_after_one_and_three_iterations(self, case: Case) -> None:
        for iterations in (1, 3):
            result = case.estimate(max_iterations=iterations, tolerance=0)
            assert result.iterations == iterations
            np.testing.assert_allclose(result.labels, case.em[iterations], atol=2e-8)
            assert result.objective == pytest.approx(case.objective_em[iterations], abs=1e-7)

    def test_converges_to_the_certified_optimum(self, case: Case) -> None:
        result = case.estimate(max_iterations=3000, tolerance=0, gap_tolerance=1e-4)
        assert -1e-9 <= result.objective - case.optimum <= result.gap + case.certified_gap + 1e-9
        assert result.gap <= 2e-3

    def test_start_is_the_prediction(self, case: Case) -> None:
        assert case.estimate(max_iterations=0).objective == pytest.approx(case.objective_at_probs, abs=1e-6)


@given(probs=predictions(), weight=weights, dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=60)
def test_rows_stay_on_the_simplex_and_the_objective_never_rises(
    probs: np.ndarray, weight: float, dtype: type
) -> None:
    problem = make_problem(probs.astype(dtype), weight, priors(probs.shape[1], seed=len(probs)))
    labels = np.maximum(problem.probs, dtype(1e-8))
    labels /= labels.sum(axis=1, keepdims=True)
    solver = EM(problem, labels, Inline())
    rounding = 20 * np.finfo(dtype).eps * (1 + weight)

    def value() -> float:
        return objective_reference(
            problem.probs, labels, objective="cce_plus", prior=problem.prior, fairness_weight=weight
        )

    before = value()
    for _ in range(10):
        solver.advance()
        assert np.all(labels > 0)  # Property 1, up to underflow, where the floor holds it
        np.testing.assert_allclose(labels.sum(axis=1, dtype=np.float64), 1, atol=10 * np.finfo(dtype).eps)
        after = value()
        assert after <= before + rounding + abs(before) * np.finfo(dtype).eps
        before = after


@given(probs=predictions(), weight=weights, iterations=st.integers(1, 100))
@settings(max_examples=60)
def test_single_precision_agrees_with_double(probs: np.ndarray, weight: float, iterations: int) -> None:
    single = probs.astype(np.float32)
    single /= single.sum(axis=1, keepdims=True)
    options = {"fairness_weight": weight, "max_iterations": iterations, "tolerance": 0}
    low = estimate_pseudo_labels(single, **options).labels
    high = estimate_pseudo_labels(single.astype(np.float64), **options).labels
    assert low.dtype == np.float32
    np.testing.assert_allclose(low, high, atol=1e-4)


@given(
    probs=predictions(max_points=70),
    weight=weights,
    zero_start=st.booleans(),
    some_known=st.booleans(),
    zero_prior=st.booleans(),
    kernel=st.sampled_from(["em_blocks", "em_lanes"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=120)
def test_kernels_equal_their_reference(
    probs: np.ndarray,
    weight: float,
    zero_start: bool,
    some_known: bool,
    zero_prior: bool,
    kernel: str,
    seed: int,
) -> None:
    points, clusters = probs.shape
    random = np.random.default_rng(seed)
    known = random.integers(-1, clusters, size=points) if some_known else np.full(points, -1)
    start = random.dirichlet(np.full(clusters, 0.5), size=points)
    if zero_start:  # S_k = 0, also for whole classes
        start = start * (random.random((points, clusters)) < 0.5)
        start[start.sum(axis=1) == 0] = 1
        start /= start.sum(axis=1, keepdims=True)
    start = np.where((known >= 0)[:, None], np.eye(clusters)[known], start)
    problem = make_problem(probs, weight, priors(clusters, seed, zeros=zero_prior), known)
    fast, plain = start.copy(), start.copy()
    edge = {"em_blocks": 0, "em_lanes": 10**6}[kernel]
    with mock.patch.object(em_rows, "LANES_EDGE", edge):
        fast_solver = EM(problem, fast, Inline())
    plain_solver = EM(problem, plain, Inline(), kernel=em_blocks_reference)
    for _ in range(3):
        assert fast_solver.advance() == pytest.approx(plain_solver.advance(), abs=1e-6)
        np.testing.assert_allclose(fast, plain, atol=1e-6)
        assert np.array_equal(fast[known >= 0], start[known >= 0])


@given(probs=predictions(max_points=20), log_scale=st.floats(-6, 6), zeros=st.booleans())
@settings(max_examples=80)
def test_m_step_meets_the_optimality_conditions_of_15(
    probs: np.ndarray, log_scale: float, zeros: bool
) -> None:
    random = np.random.default_rng(len(probs))
    weights_of_rows = 10**log_scale * random.dirichlet(np.ones(probs.shape[1]), size=len(probs))
    if zeros:
        weights_of_rows *= random.random(probs.shape) < 0.6
    labels = m_step_reference(probs, weights_of_rows, tiny=np.finfo(np.float64).tiny)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-12)
    total = 1 + weights_of_rows.sum(axis=1, keepdims=True)
    slope = probs / (probs * labels).sum(axis=1, keepdims=True)
    weighted = weights_of_rows > 0
    # y_k (1 + A - σ_k/x) = a_k; a class without weight has σ_k/x <= 1 + A, with equality where y_k > 0.
    residual = (labels * (total - slope) - weights_of_rows) / total
    np.testing.assert_allclose(residual, 0, atol=1e-7)
    assert np.all((slope / total)[~weighted] <= 1 + 1e-7)


def test_class_without_support_takes_the_rest_in_closed_form() -> None:
    # The supplement, section 9: σ_c = σ_max with S_c = 0; a = 0.1 leaves y_c = 1 - 0.1 / (1.1 · 0.75).
    labels = m_step_reference(np.array([[0.8, 0.2]]), np.array([[0.0, 0.1]]), tiny=1e-300)
    np.testing.assert_allclose(labels, [[1 - 0.1 / 0.825, 0.1 / 0.825]], rtol=1e-12)


def test_empty_class_of_the_start_recovers_only_where_it_is_the_prediction() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    start = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    labels = estimate_pseudo_labels(probs, fairness_weight=0.1, init=start, max_iterations=1).labels
    assert labels[0, 2] == 0 and labels[1, 2] == 0
    assert labels[2, 2] > 0


def test_warm_start_continues_where_the_last_call_stopped() -> None:
    case = CASES[2]
    straight = case.estimate(max_iterations=8, tolerance=0)
    half = case.estimate(max_iterations=4, tolerance=0)
    rest = case.estimate(max_iterations=4, tolerance=0, init=half.labels)
    np.testing.assert_allclose(rest.labels, straight.labels, atol=1e-9)


def test_known_rows_are_clamped_and_the_rest_is_optimal() -> None:
    case = CASES[3]
    known = np.full(len(case.probs), -1)
    known[:50] = np.arange(50) % case.probs.shape[1]
    result = case.estimate(known_labels=known, max_iterations=3000, tolerance=0)
    assert np.array_equal(result.labels[:50], np.eye(case.probs.shape[1])[known[:50]])
    assert result.gap < 1e-3
    free = case.estimate(max_iterations=3000, tolerance=0)
    assert result.objective > free.objective + 0.1


def test_prior_shapes_the_cluster_sizes() -> None:
    probs = np.full((400, 4), 0.25)
    prior = np.array([0.7, 0.1, 0.1, 0.1])
    labels = estimate_pseudo_labels(probs, fairness_weight=10, prior=prior).labels
    np.testing.assert_allclose(labels.mean(axis=0), prior, atol=1e-6)


def test_empty_class_of_the_start_in_single_precision() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    start = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    options = {"fairness_weight": 1000.0, "max_iterations": 9, "tolerance": 0}
    single = estimate_pseudo_labels(probs.astype(np.float32), init=start.astype(np.float32), **options).labels
    np.testing.assert_allclose(single, estimate_pseudo_labels(probs, init=start, **options).labels, atol=1e-5)


@pytest.mark.parametrize("clusters", [7, 60])  # either kernel
def test_predictions_may_be_taken_away_between_iterations(clusters: int) -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(clusters), size=200)
    prices = np.linspace(1.0, 5.0, clusters)
    kept, returned = (
        EMRows(probs.copy(), probs.copy(), np.full(200, -1), 10.0, 1, Inline()) for _ in range(2)
    )
    for _ in range(3):
        assert returned.probs is not None
        memory = weakref.ref(returned.probs)
        returned.probs = None
        assert memory() is None, "something still holds σ"
        returned.probs = probs.copy()
        assert np.array_equal(kept.advance(prices), returned.advance(prices))
        assert np.array_equal(kept.gaps(prices), returned.gaps(prices))
