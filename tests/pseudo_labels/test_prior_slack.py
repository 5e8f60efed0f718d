"""A prior that may be missed: the nearest shares, the relaxed objectives, their certificate."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import make_problem, predictions, priors, softmax, weights
from scipy.optimize import linprog, minimize

from cce_ray.pseudo_labels import OBJECTIVES, SOLVERS, estimate_pseudo_labels
from cce_ray.pseudo_labels.certificate import certified_gap
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.prior import wanted_shares
from cce_ray.pseudo_labels.reference.certificate import certified_gap_reference, inner_minimum_reference
from cce_ray.pseudo_labels.reference.objectives import data_value_reference, objective_reference
from cce_ray.pseudo_labels.solvers.em import EM
from cce_ray.pseudo_labels.solvers.mirror import Mirror

slacks = st.sampled_from([1e-17, 1e-9, 0.01, 0.3, 0.99, 1.0, 2.0, 1e3, 1e300])


def limits(prior: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(prior * (1 - slack), 0), np.minimum(prior * (1 + slack), 1)


def shares_reference(mean: np.ndarray, prior: np.ndarray, slack: float) -> np.ndarray:
    """`wanted_shares` by bisection for ln c."""
    low, high = limits(prior, slack)
    left, right = -750.0, 750.0
    for _ in range(200):
        middle = 0.5 * (left + right)
        logs = np.minimum(middle + np.log(mean), 700)
        too_small = np.clip(np.exp(logs), low, high).sum() < 1
        left, right = (middle, right) if too_small else (left, middle)
    return np.clip(np.exp(np.minimum(right + np.log(mean), 700)), low, high)


def some_mean(clusters: int, seed: int) -> np.ndarray:
    """Means from even to lost clusters, which arrive here floored."""
    random = np.random.default_rng(seed)
    mean = random.dirichlet(np.full(clusters, random.choice([0.01, 0.3, 3.0])))
    return np.maximum(np.round(mean, 3) if seed % 3 == 0 else mean, 1e-290)


@given(
    clusters=st.integers(2, 12),
    slack=slacks,
    seed=st.integers(0, 10**6),
    zeros=st.booleans(),
    even=st.booleans(),
)
@settings(max_examples=300)
def test_shares_lie_within_their_limits_sum_to_one_and_are_the_nearest(
    clusters: int, slack: float, seed: int, zeros: bool, even: bool
) -> None:
    prior = np.full(clusters, 1 / clusters) if even else priors(clusters, seed, zeros=zeros)
    mean = some_mean(clusters, seed + 1)
    shares = wanted_shares(mean, prior, slack)
    low, high = limits(prior, slack)
    assert np.all((low <= shares) & (shares <= high))
    assert shares.sum() == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(shares, shares_reference(mean, prior, slack), atol=1e-11)


def test_nearest_means_nearest_in_both_divergences() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        mean, prior = random.dirichlet(np.ones(5)), random.dirichlet(np.full(5, 3.0))
        nearest, (low, high) = wanted_shares(mean, prior, 0.4), limits(prior, 0.4)
        others = np.clip(random.dirichlet(np.full(5, 3.0), size=4000), low, high)
        others = others[np.abs(others.sum(axis=1) - 1) < 0.05]
        others = nearest + 0.1 * (others - others.sum(axis=1, keepdims=True) * nearest)  # sum 1 again
        others = others[np.all((others >= low) & (others <= high), axis=1)]
        assert len(others) > 10
        np.testing.assert_allclose(others.sum(axis=1), 1)
        reverse = (others * np.log(others / mean)).sum(axis=1)
        forward = (mean * np.log(mean / others)).sum(axis=1)
        assert reverse.min() >= (nearest * np.log(nearest / mean)).sum() - 1e-12
        assert forward.min() >= (mean * np.log(mean / nearest)).sum() - 1e-12


def test_known_shares() -> None:
    prior, mean = np.full(4, 0.25), np.array([0.55, 0.25, 0.15, 0.05])
    assert wanted_shares(mean, prior, 0.0) is prior
    np.testing.assert_allclose(wanted_shares(mean, prior, 5.0), mean)
    # 0.25 (1 ± 0.2): the first and the last meet a limit, the others take 0.5 in their ratio 5:3, and so
    # does the second then: 0.3, 0.3, 0.2, 0.2.
    np.testing.assert_allclose(wanted_shares(mean, prior, 0.2), [0.3, 0.3, 0.2, 0.2])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_without_slack_not_a_bit_changes(objective: str) -> None:
    probs = softmax(3 * np.random.default_rng(3).normal(size=(90, 6)))
    plain = estimate_pseudo_labels(probs, fairness_weight=10.0, objective=objective)
    zero = estimate_pseudo_labels(probs, fairness_weight=10.0, objective=objective, prior_slack=0)
    assert np.array_equal(plain.labels, zero.labels)
    assert (plain.objective, plain.gap) == (zero.objective, zero.gap)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_boundless_slack_leaves_the_data_term(objective: str) -> None:
    probs = softmax(3 * np.random.default_rng(3).normal(size=(90, 6)))
    options = {"objective": objective, "prior_slack": 1e6, "max_iterations": 2000, "tolerance": 1e-9}
    result = estimate_pseudo_labels(probs, fairness_weight=10.0, **options)
    constant = 10 * np.log(6) if objective == "cce_plus" else 0.0  # -λ Σ u ln u
    assert result.objective - constant == pytest.approx(-np.log(probs.max(axis=1)).mean(), abs=1e-5)


@given(probs=predictions(), weight=weights, slack=slacks, seed=st.integers(0, 10**6))
@settings(max_examples=60)
@pytest.mark.parametrize("solver", [EM, Mirror])
def test_no_iteration_raises_the_relaxed_objective(
    solver: Callable[..., EM | Mirror], probs: np.ndarray, weight: float, slack: float, seed: int
) -> None:
    prior = priors(probs.shape[1], seed)
    problem = make_problem(probs, weight, prior, prior_slack=slack)
    labels = np.maximum(probs, 1e-8)
    labels /= labels.sum(axis=1, keepdims=True)
    objective = "cce_plus" if solver is EM else "shannon"
    options = {"objective": objective, "prior": prior, "fairness_weight": weight, "prior_slack": slack}
    running = solver(problem, labels, Inline())
    before = objective_reference(probs, labels, **options)
    for _ in range(10):
        running.advance()
        after = objective_reference(probs, labels, **options)
        assert after <= before + 1e-9 * (1 + weight)
        before = after


def relaxed_by_slsqp(
    probs: np.ndarray, prior: np.ndarray, weight: float, slack: float, objective: str
) -> float:
    """The minimum over y and v together, by a solver that knows nothing of prices."""
    points, clusters = probs.shape
    low, high = limits(prior, slack)

    def split(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return z[: points * clusters].reshape(points, clusters), z[points * clusters :]

    def value(z: np.ndarray) -> float:
        y, v = split(z)
        mean = y.mean(axis=0)
        data = data_value_reference(probs, y, OBJECTIVES[objective].data)
        if objective == "cce_plus":
            return data + weight * float((v * np.log(v / mean)).sum() - (prior * np.log(prior)).sum())
        return data + weight * float((mean * np.log(mean / v)).sum())

    rows = [{"type": "eq", "fun": lambda z, i=i: split(z)[0][i].sum() - 1} for i in range(points)]
    rows.append({"type": "eq", "fun": lambda z: split(z)[1].sum() - 1})
    bounds = [(1e-9, 1)] * (points * clusters) + list(zip(low, high, strict=True))
    start = np.concatenate([np.full(points * clusters, 1 / clusters), prior])
    options = {"maxiter": 2000, "ftol": 1e-13}
    found = minimize(value, start, method="SLSQP", bounds=bounds, constraints=rows, options=options)
    return float(found.fun)


@pytest.mark.parametrize("slack", [0.1, 0.5])
@pytest.mark.parametrize(
    ("objective", "solver"),
    [(objective, name) for name, kind in SOLVERS.items() for objective in kind.abilities["host"].objectives],
)
def test_reaches_the_minimum_that_an_independent_solver_finds(
    objective: str, solver: str, slack: float
) -> None:
    random = np.random.default_rng(7)
    probs = softmax(1.5 * random.normal(size=(6, 3)) + np.array([2.0, 0.0, -1.0]))
    prior = np.array([0.3, 0.3, 0.4])
    options = {"objective": objective, "prior": prior, "prior_slack": slack, "fairness_weight": 4.0}
    try:
        result = estimate_pseudo_labels(
            probs, solver=solver, max_iterations=30_000, tolerance=0, gap_tolerance=1e-7, **options
        )
    except ValueError as error:  # a solver may refuse a slack, in one line
        assert "prior_slack" in str(error)
        return
    assert result.gap <= 1e-7
    assert result.objective == pytest.approx(relaxed_by_slsqp(probs, prior, 4.0, slack, objective), abs=2e-6)
    strict = estimate_pseudo_labels(probs, **(options | {"prior_slack": 0.0, "max_iterations": 2000}))
    assert result.objective < strict.objective - 0.01


def dual_bound(
    probs: np.ndarray, prices: np.ndarray, prior: np.ndarray, weight: float, slack: float, objective: str
) -> float:
    """g(p) for any prices, its knapsack solved as a linear programme."""
    if OBJECTIVES[objective].data == "collision":
        inner = np.mean([inner_minimum_reference(row, prices) for row in probs])
    else:
        inner = (-np.log(np.maximum(probs, 1e-300)) - prices).min(axis=1).mean()
    box = np.column_stack(limits(prior, slack))
    ones = np.ones((1, len(prior)))
    if objective == "cce_plus":
        knapsack = linprog(np.log(prices / weight), A_eq=ones, b_eq=[1], bounds=box).fun
        return float(inner + weight * (knapsack + 1 - (prior * np.log(prior)).sum()))
    peak = (-prices / weight).max()
    gains = np.exp(-prices / weight - peak)
    knapsack = -linprog(-gains, A_eq=ones, b_eq=[1], bounds=box).fun
    return float(inner - weight * (np.log(knapsack) + peak))


@given(
    probs=predictions(max_points=12, max_clusters=5),
    weight=st.sampled_from([0.1, 1.0, 10.0, 100.0]),
    slack=st.sampled_from([0.01, 0.3, 0.99, 2.0]),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    spread=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_every_price_bounds_every_labelling(
    probs: np.ndarray, weight: float, slack: float, objective: str, spread: float, seed: int
) -> None:
    clusters = probs.shape[1]
    random, prior = np.random.default_rng(seed), priors(clusters, seed)
    labels = random.dirichlet(np.ones(clusters), size=len(probs))
    prices = weight * np.exp(spread * random.normal(size=clusters))
    options = {"objective": objective, "prior": prior, "fairness_weight": weight, "prior_slack": slack}
    value = objective_reference(probs, labels, **options)
    bound = dual_bound(probs, prices, prior, weight, slack, objective)
    assert bound <= value + 1e-7 * (1 + weight)
    better = estimate_pseudo_labels(probs, max_iterations=50, **options).objective
    assert bound <= better + 1e-7 * (1 + weight)


@given(
    probs=predictions(max_points=12, max_clusters=5),
    weight=st.sampled_from([0.1, 1.0, 10.0]),
    slack=st.sampled_from([0.01, 0.3, 0.99, 2.0]),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_the_gap_is_that_of_the_dual_bound(
    probs: np.ndarray, weight: float, slack: float, objective: str, seed: int
) -> None:
    clusters = probs.shape[1]
    prior = priors(clusters, seed)
    labels = np.random.default_rng(seed).dirichlet(np.ones(clusters), size=len(probs))
    problem = make_problem(probs, weight, prior, prior_slack=slack)
    mean = labels.mean(axis=0)
    prices = OBJECTIVES[objective].prices(mean, prior, weight, slack)
    value = objective_reference(
        probs, labels, objective=objective, prior=prior, fairness_weight=weight, prior_slack=slack
    )
    bound = dual_bound(probs, prices, prior, weight, slack, objective)
    gap = certified_gap(problem, labels, objective)
    assert gap == pytest.approx(value - bound, rel=1e-6, abs=1e-7 * (1 + weight))
    assert gap == pytest.approx(certified_gap_reference(problem, labels, objective), rel=1e-6, abs=1e-8)


def test_a_cluster_may_die_where_the_slack_lets_its_share_be_zero() -> None:
    probs = np.tile([0.6, 0.4, 0.0], (40, 1))
    init = np.tile([0.5, 0.5, 0.0], (40, 1))
    strict = estimate_pseudo_labels(probs, fairness_weight=1.0, init=init, max_iterations=0)
    assert strict.objective == np.inf
    free = estimate_pseudo_labels(
        probs, fairness_weight=1.0, init=init, prior_slack=1.0, max_iterations=2000, tolerance=1e-9
    )
    assert np.isfinite(free.objective) and 0 <= free.gap < 1e-3
    assert free.labels[:, 2].max() == 0
