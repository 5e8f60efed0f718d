import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import Case, known_cases, make_problem, predictions, priors, weights

from cce_ray.pseudo_labels import OBJECTIVES, estimate_pseudo_labels
from cce_ray.pseudo_labels.certificate import certified_gap
from cce_ray.pseudo_labels.kernels.certificate import collision_minimum
from cce_ray.pseudo_labels.reference.certificate import certified_gap_reference, inner_minimum_reference
from cce_ray.pseudo_labels.reference.objectives import objective_reference

objectives = st.sampled_from(sorted(OBJECTIVES))


@pytest.mark.parametrize("case", list(known_cases()), ids=lambda case: case.name)
def test_gap_bounds_the_distance_from_the_known_optimum(case: Case) -> None:
    for iterations in (0, 1, 30):
        result = case.estimate(max_iterations=iterations, tolerance=0)
        assert result.gap >= result.objective - case.optimum - 1e-9


@given(
    probs=predictions(max_points=30, max_clusters=7),
    weight=weights,
    objective=objectives,
    some_known=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_kernel_equals_its_reference(
    probs: np.ndarray, weight: float, objective: str, some_known: bool, seed: int
) -> None:
    points, clusters = probs.shape
    random = np.random.default_rng(seed)
    known = random.integers(-1, clusters, size=points) if some_known else None
    problem = make_problem(probs, weight, priors(clusters, seed), known)
    labels = random.dirichlet(np.ones(clusters), size=points)
    plain = certified_gap_reference(problem, labels, objective)
    assert certified_gap(problem, labels, objective) == pytest.approx(
        plain, rel=1e-6, abs=1e-9 * (1 + weight)
    )


@given(probs=predictions(max_points=60), weight=weights, objective=objectives, seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_gap_holds_against_any_other_labels(
    probs: np.ndarray, weight: float, objective: str, seed: int
) -> None:
    prior = priors(probs.shape[1], seed)
    start = np.random.default_rng(seed).dirichlet(np.ones(probs.shape[1]), size=len(probs))
    options = {"fairness_weight": weight, "objective": objective, "prior": prior}
    first = estimate_pseudo_labels(probs, init=start, max_iterations=1, **options)
    better = estimate_pseudo_labels(probs, max_iterations=200, tolerance=0, **options)
    slack = 1e-10 * (1 + weight)
    assert first.gap >= first.objective - better.objective - slack
    assert better.gap >= better.objective - first.objective - slack


@given(seed=st.integers(0, 10**6), clusters=st.integers(2, 5), spread=st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=30)
def test_inner_minimum_is_below_every_point_of_the_simplex_and_attained(
    seed: int, clusters: int, spread: float
) -> None:
    random = np.random.default_rng(seed)
    probs, prices = random.dirichlet(np.ones(clusters)), spread * random.normal(size=clusters)
    least = inner_minimum_reference(probs, prices)
    points = np.concatenate([random.dirichlet(np.full(clusters, 0.3), size=2000), np.eye(clusters)])
    assert np.all(least <= -np.log(np.maximum(points @ probs, 1e-300)) - points @ prices + 1e-12)
    assert collision_minimum(0, probs[None], prices) == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_gap_is_zero_up_to_rounding_where_the_optimum_is_known() -> None:
    # Balanced one-hot predictions are their own optimal labels: H₂ = 0 and the means equal the prior.
    probs = np.eye(4)[np.arange(40) % 4]
    for objective in OBJECTIVES:
        result = estimate_pseudo_labels(probs, fairness_weight=5, objective=objective, tolerance=0)
        assert result.gap < 1e-6


def test_gap_of_an_empty_wanted_cluster_is_infinite() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2]])
    init = np.array([[1.0, 0.0], [1.0, 0.0]])
    result = estimate_pseudo_labels(probs, fairness_weight=1, init=init, max_iterations=0)
    assert result.objective == np.inf and result.gap == np.inf


def test_objective_is_that_of_the_paper_up_to_constants() -> None:
    probs = np.array([[0.9, 0.1], [0.4, 0.6]])
    labels = np.array([[0.8, 0.2], [0.5, 0.5]])
    prior = np.array([0.5, 0.5])
    mean = labels.mean(axis=0)
    collision, shannon = -np.log([0.74, 0.5]).mean(), -(labels * np.log(probs)).sum() / 2
    forward = 3 * (mean * np.log(mean / prior)).sum()
    # (12): λ KL(u‖ȳ) of (11) without its constant λ Σ u ln u.
    reverse = 3 * (prior * np.log(prior / mean)).sum() - 3 * (prior * np.log(prior)).sum()
    expected = {"cce_plus": collision + reverse, "cce": collision + forward, "shannon": shannon + forward}
    for name, value in expected.items():
        options = {"objective": name, "prior": prior, "fairness_weight": 3.0}
        assert objective_reference(probs, labels, **options) == pytest.approx(value)
        result = estimate_pseudo_labels(probs, init=labels, max_iterations=0, **options)
        assert result.objective == pytest.approx(value)
