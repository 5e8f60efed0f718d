import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import Case, known_cases, make_problem, predictions, priors, weights

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.kernels.pgd import project_row
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.reference.pgd import pgd_blocks_reference, project_simplex_reference
from cce_ray.pseudo_labels.solvers.pgd import PGD

CASES = list(known_cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reaches_the_optimum_of_11(case: Case) -> None:
    result = case.estimate(solver="pgd", max_iterations=3000, tolerance=0, gap_tolerance=1e-5)
    assert result.objective - case.optimum <= 2e-5 + case.certified_gap
    assert result.objective >= case.optimum - case.certified_gap - 1e-9


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reaches_a_certified_optimum_of_10(case: Case) -> None:
    result = case.estimate(objective="cce", max_iterations=3000, tolerance=0, gap_tolerance=1e-5)
    assert result.gap <= 1e-5
    np.testing.assert_allclose(result.labels.sum(axis=1), 1, atol=1e-12)


@given(
    probs=predictions(max_points=70),
    weight=st.sampled_from([1e-3, 1.0, 30.0]),
    objective=st.sampled_from(["cce", "cce_plus"]),
    some_known=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_kernel_equals_its_reference(
    probs: np.ndarray, weight: float, objective: str, some_known: bool, seed: int
) -> None:
    points, clusters = probs.shape
    random = np.random.default_rng(seed)
    known = random.integers(-1, clusters, size=points) if some_known else np.full(points, -1)
    start = random.dirichlet(np.ones(clusters), size=points)
    start = np.where((known >= 0)[:, None], np.eye(clusters)[known], start)
    problem = make_problem(probs, weight, priors(clusters, seed), known)
    fast, plain = start.copy(), start.copy()
    changes = (
        PGD(problem, fast, Inline(), objective).advance(),
        PGD(problem, plain, Inline(), objective, kernel=pgd_blocks_reference).advance(),
    )
    assert changes[0] == pytest.approx(changes[1], abs=1e-9)
    np.testing.assert_allclose(fast, plain, atol=1e-9)
    assert np.array_equal(fast[known >= 0], start[known >= 0])


@given(
    probs=predictions(),
    weight=weights,
    objective=st.sampled_from(["cce", "cce_plus"]),
    iterations=st.integers(1, 100),
)
@settings(max_examples=40)
def test_single_precision_agrees_with_double(
    probs: np.ndarray, weight: float, objective: str, iterations: int
) -> None:
    single = probs.astype(np.float32)
    single /= single.sum(axis=1, keepdims=True)
    options = {"fairness_weight": weight, "max_iterations": iterations, "tolerance": 0}
    options |= {"objective": objective, "solver": "pgd"}
    low = estimate_pseudo_labels(single, **options).labels
    high = estimate_pseudo_labels(single.astype(np.float64), **options).labels
    assert low.dtype == np.float32
    np.testing.assert_allclose(low, high, atol=1e-6)


@given(
    clusters=st.integers(1, 40),
    scale=st.sampled_from([1e-9, 0.1, 1.0, 1e3, 1e12]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100)
def test_projection_is_the_nearest_point(clusters: int, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    point = scale * random.normal(size=clusters)
    if seed % 2:
        point = np.round(point)  # ties
    shifted = point[None].copy()
    nearest = np.maximum(shifted[0] - project_row(shifted[0]), 0)
    assert nearest.sum() == pytest.approx(1)
    np.testing.assert_allclose(nearest, project_simplex_reference(point[None])[0], atol=1e-9 + 1e-15 * scale)
    # The variational inequality that says "nearest": no vertex lies beyond the tangent plane.
    beyond = (np.eye(clusters) - nearest) @ (point - nearest)
    assert np.all(beyond <= 1e-9 + 1e-14 * scale)


@given(probs=predictions(), weight=weights, dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=60)
def test_rows_stay_on_the_simplex_and_the_value_ends_below_the_start(
    probs: np.ndarray, weight: float, dtype: type
) -> None:
    options = {"fairness_weight": weight, "objective": "cce", "tolerance": 0}
    start = estimate_pseudo_labels(probs.astype(dtype), max_iterations=0, **options)
    result = estimate_pseudo_labels(probs.astype(dtype), max_iterations=30, **options)
    assert np.all(result.labels >= 0)
    np.testing.assert_allclose(result.labels.sum(axis=1, dtype=np.float64), 1, atol=20 * np.finfo(dtype).eps)
    noise = 100 * np.finfo(dtype).eps * (1 + weight)
    assert result.objective <= start.objective + noise


def test_start_with_an_empty_cluster_recovers() -> None:
    probs = CASES[2].probs
    init = np.eye(probs.shape[1])[np.zeros(len(probs), dtype=int)]
    result = CASES[2].estimate(solver="pgd", init=init, max_iterations=3000, tolerance=0, gap_tolerance=1e-3)
    assert result.reason == "gap"
