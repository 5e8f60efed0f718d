from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pseudo_label_problems import Case, known_cases, predictions, priors, softmax, weights

from cce_ray.pseudo_labels import estimate_pseudo_labels, mappers
from cce_ray.pseudo_labels.kernels import exact as exact_kernel
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.objectives import OBJECTIVES
from cce_ray.pseudo_labels.problem import BLOCK_ROWS
from cce_ray.pseudo_labels.reference import exact as exact_reference
from cce_ray.pseudo_labels.reference.objectives import objective_reference
from cce_ray.pseudo_labels.solvers.exact import Exact

CASES = list(known_cases())
BOTH = ("cce_plus", "cce")
KERNELS = (exact_kernel.assemble_rows, exact_kernel.predict_rows, exact_kernel.correct_rows)
TWINS = (
    exact_reference.assemble_rows_reference,
    exact_reference.predict_rows_reference,
    exact_reference.correct_rows_reference,
)


def solve(probs: np.ndarray, **options: Any) -> Any:
    return estimate_pseudo_labels(probs, **({"fairness_weight": 10.0, "solver": "exact"} | options))


class State:
    """Some point inside: y, z, ν, t and their directions, as arrays that the kernels change."""

    def __init__(self, probs: np.ndarray, known: np.ndarray, seed: int, feasible: bool) -> None:
        random = np.random.default_rng(seed)
        points, clusters = probs.shape
        self.blocks = -(-points // BLOCK_ROWS)
        prices, moves_of_prices = random.normal(size=(2, clusters))
        labels = random.dirichlet(np.ones(clusters), size=points)
        labels = np.where((known >= 0)[:, None], np.eye(clusters)[known], labels)
        slacks = random.lognormal(sigma=2.0, size=probs.shape)
        moves = 0.1 * labels * random.normal(size=probs.shape)
        turns = 0.1 * slacks * random.normal(size=probs.shape)
        numbers = random.normal(size=(points, exact_kernel.ROW_NUMBERS))
        numbers[:, exact_kernel.HIT_PRICE] = random.lognormal(size=points)
        numbers[:, exact_kernel.HIT_MOVE] *= 0.1 * numbers[:, exact_kernel.HIT_PRICE]
        if feasible:  # the stationarity conditions hold up to rounding, which neither may magnify
            turns[:], numbers[:, [exact_kernel.NU_MOVE, exact_kernel.HIT_MOVE]] = 0.0, 0.0
            slopes = probs * numbers[:, exact_kernel.HIT_PRICE, None] + prices
            numbers[:, exact_kernel.NU] = slopes.max(axis=1) + 0.1
            slacks = numbers[:, exact_kernel.NU, None] - slopes
        self.rows = exact_kernel.Rows(probs, known, labels, slacks, moves, turns, numbers)
        centring, lengths = np.array([0.03]), np.array([0.7, 0.9])
        self.step = exact_kernel.Step(prices, moves_of_prices, -moves_of_prices, centring, lengths)
        self.scratch = exact_kernel.Scratch(np.zeros((2, clusters)), np.zeros((2, clusters)))
        self.system = exact_kernel.System(
            np.zeros((2, 2 * points, clusters)),
            np.zeros((self.blocks, exact_kernel.ASSEMBLE_VECTORS, clusters)),
            np.zeros((self.blocks, exact_kernel.ASSEMBLE_SUMS)),
        )
        self.prediction = exact_kernel.Prediction(
            np.zeros((self.blocks, exact_kernel.PREDICT_VECTORS, clusters)),
            np.zeros((self.blocks, exact_kernel.PREDICT_SUMS)),
            np.zeros((self.blocks, 2)),
        )
        self.extremes = np.zeros((self.blocks, 3))

    def run(self, kernels: tuple[Callable[..., None], ...]) -> dict[str, np.ndarray]:
        """All three on both shares of the blocks; returns everything they may have written."""
        assemble, predict, correct = kernels
        inputs = (tuple(self.rows), tuple(self.step), tuple(self.scratch))
        ratios = []
        for share, first, last in ((0, 0, self.blocks // 2), (1, self.blocks // 2, self.blocks)):
            assemble(share, first, last, *inputs, tuple(self.system))
            predict(share, first, last, *inputs, tuple(self.prediction))
            ratios.append(self.rows.turns.copy())
            correct(share, first, last, *inputs, self.extremes)
        known = self.rows.known >= 0
        self.rows.numbers[known] = self.rows.turns[known] = self.rows.moves[known] = 0.0
        written = {"extremes": self.extremes, "ratios": np.stack(ratios)}
        for arrays in (self.rows, self.step, self.system, self.prediction):
            written |= {f"{type(arrays).__name__}.{name}": a for name, a in arrays._asdict().items()}
        return written


@given(
    probs=predictions(),
    known=st.sampled_from(["none", "some", "all"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    feasible=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100)
def test_kernels_equal_their_twins(
    probs: np.ndarray, known: str, dtype: type, feasible: bool, seed: int
) -> None:
    points, clusters = probs.shape
    classes = np.random.default_rng(seed).integers({"some": -1}.get(known, 0), clusters, size=points)
    classes = np.full(points, -1) if known == "none" else classes
    fast, plain = (State(probs.astype(dtype), classes, seed, feasible).run(one) for one in (KERNELS, TWINS))
    for name, expected in plain.items():
        scale = np.abs(np.where(np.isfinite(expected), expected, 0.0)).max(initial=0.0)
        np.testing.assert_allclose(fast[name], expected, rtol=1e-7, atol=1e-11 * scale, err_msg=name)


@pytest.mark.parametrize("objective", BOTH)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_twins_take_the_same_way(case: Case, objective: str) -> None:
    ways = []
    for kernels in (KERNELS, TWINS):
        problem, labels = case.problem(), case.probs.astype(np.float64)
        solver = Exact(problem, labels, Inline(), objective, kernels)
        changes = [solver.advance() for _ in range(6)]
        ways.append((changes, solver.gap, solver.prices, labels))
    for found, expected in zip(*ways, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestKnownAnswers:
    def test_11_agrees_with_the_certified_optimum(self, case: Case) -> None:
        result = case.estimate(solver="exact")
        assert result.objective == pytest.approx(case.optimum, abs=1e-7)
        assert result.reason == "gap" and result.gap <= 1e-10 * (1 + case.fairness_weight)
        assert result.iterations <= 25

    def test_10_agrees_with_projected_gradients(self, case: Case) -> None:
        result = case.estimate(objective="cce", solver="exact")
        slow = case.estimate(
            objective="cce", solver="pgd", max_iterations=20_000, tolerance=0, gap_tolerance=1e-7
        )
        assert slow.reason == "gap"
        assert -1e-9 <= slow.objective - result.objective <= 1e-7
        np.testing.assert_allclose(result.labels.mean(axis=0), slow.labels.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("objective", BOTH)
@pytest.mark.parametrize("weight", [0.3, 10.0, 300.0])
def test_structure_of_the_optimum(objective: str, weight: float) -> None:
    """At given prices p a row without ties is soft between two classes, a and b with σ_b = ρ σ_a, if
    1 - ρ < p_b - p_a < 1/ρ - 1, and else of the class that no other outbids. The K - 1 differences of the
    best prices can each tie one class more to a row."""
    probs = softmax(2 * np.random.default_rng(3).normal(size=(240, 6)) + np.linspace(2, 0, 6))
    result = solve(probs, objective=objective, fairness_weight=weight)
    labels = result.labels
    prices = OBJECTIVES[objective].prices(labels.mean(axis=0), np.full(6, 1 / 6), weight, 0.0)
    counts = (labels > 1e-5).sum(axis=1)
    assert np.maximum(counts - 2, 0).sum() <= 5
    soft = np.flatnonzero(counts == 2)
    assert 0 < len(soft) < 240
    a, b = np.where(labels[soft] > 1e-5, probs[soft], 0.0).argsort(axis=1)[:, :-3:-1].T
    ratio, advantage = probs[soft, b] / probs[soft, a], prices[b] - prices[a]
    rounding = 1e-4 * (1 + weight) ** 0.5
    assert np.all((1 - ratio < advantage + rounding) & (advantage - rounding < 1 / ratio - 1))
    pure = np.flatnonzero(counts == 1)
    winner = labels[pure].argmax(axis=1)
    bids = prices - prices[winner][:, None]
    assert np.all(bids <= 1 - probs[pure] / probs[pure, winner][:, None] + rounding)


@pytest.mark.parametrize("objective", BOTH)
@pytest.mark.parametrize("points", [1000, 2500])  # chunks of two blocks, and of three
def test_threads_cannot_change_a_bit(objective: str, points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    probs = softmax(3 * np.random.default_rng(0).normal(size=(points, 7))).astype(np.float32)
    inline = solve(probs, objective=objective, backend="inline")
    for cores in (2, 3, 64):
        monkeypatch.setattr(mappers, "num_threads", lambda cores=cores: cores)
        threads = solve(probs, objective=objective, backend="threads")
        assert np.array_equal(inline.labels, threads.labels)
        assert (inline.objective, inline.gap) == (threads.objective, threads.gap)


@pytest.mark.parametrize("objective", BOTH)
def test_known_rows_stay_one_hot_and_the_rest_is_optimal(objective: str) -> None:
    case = CASES[3]
    points, clusters = case.probs.shape
    known = np.where(np.arange(points) < 50, np.arange(points) % clusters, -1)
    result = case.estimate(solver="exact", objective=objective, known_labels=known)
    assert np.array_equal(result.labels[:50], np.eye(clusters)[known[:50]])
    assert result.reason == "gap"
    slow = case.estimate(
        solver="pgd", objective=objective, known_labels=known, max_iterations=5000, tolerance=0
    )
    assert slow.objective >= result.objective - 1e-9
    assert slow.objective - result.objective <= slow.gap + 1e-9


@pytest.mark.parametrize("objective", BOTH)
def test_where_all_rows_are_known_nothing_is_left_to_do(objective: str) -> None:
    known = np.arange(30) % 3
    result = solve(softmax(np.zeros((30, 3))), objective=objective, known_labels=known)
    assert np.array_equal(result.labels, np.eye(3)[known])
    assert result.gap <= 1e-12 and result.iterations == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("objective", BOTH)
def test_the_gap_that_is_asked_for_is_the_gap_of_what_is_returned(objective: str, dtype: type) -> None:
    probs = softmax(3 * np.random.default_rng(5).normal(size=(150, 8))).astype(dtype)
    iterations = []
    for gap in (1.0, 1e-2, 1e-4, 1e-6 if dtype == np.float32 else 1e-9):
        result = solve(probs, objective=objective, gap_tolerance=gap, fairness_weight=30.0)
        assert result.reason == "gap" and result.gap <= gap
        iterations.append(result.iterations)
    assert iterations == sorted(iterations) and iterations[0] < iterations[-1]


@pytest.mark.parametrize("weight", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("objective", BOTH)
def test_a_gap_beyond_rounding_ends_near_it(objective: str, weight: float) -> None:
    probs = softmax(np.random.default_rng(6).normal(size=(70, 9)))
    result = solve(probs, objective=objective, gap_tolerance=0.0, fairness_weight=weight, max_iterations=500)
    assert result.reason in ("tolerance", "gap") and result.iterations <= 40
    assert result.gap <= 1e-10 * (1 + weight)


def test_a_prior_that_may_be_missed_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"prior_slack: 0\.5 is more than solver 'exact' can do") as caught:
        solve(CASES[0].probs, prior_slack=0.5)
    assert "\n" not in str(caught.value)


@given(
    probs=predictions(max_clusters=60),
    weight=weights,
    objective=st.sampled_from(BOTH),
    prior=st.sampled_from(["even", "uneven", "zeros"]),
    known=st.booleans(),
    one_hot_start=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=150)
def test_every_problem_ends_at_a_certified_optimum_in_few_iterations(
    probs: np.ndarray,
    weight: float,
    objective: str,
    prior: str,
    known: bool,
    one_hot_start: bool,
    seed: int,
) -> None:
    points, clusters = probs.shape
    random = np.random.default_rng(seed)
    options: dict[str, Any] = {"objective": objective, "fairness_weight": weight}
    if prior != "even":
        options["prior"] = priors(clusters, seed, zeros=prior == "zeros" and objective == "cce_plus")
    if known:
        options["known_labels"] = np.where(
            random.random(points) < 0.3, random.integers(clusters, size=points), -1
        )
        assume(np.any(options["known_labels"] < 0))
    if one_hot_start:
        options["init"] = np.eye(clusters)[random.integers(clusters, size=points)]
    result = solve(probs, **options)
    assert result.iterations <= 60
    assert result.gap <= 1e-8 * (1 + weight)  # nearly always 1e-10, where it stops by itself
    np.testing.assert_allclose(result.labels.sum(axis=1), 1, atol=1e-12)
    assert result.labels.min() >= 0

    # No other solver's labels, nor these moved, are lower than the gap allows.
    noise = 1e-12 * (1 + weight) + 1e-12 * abs(result.objective)
    other = estimate_pseudo_labels(probs, **options, solver="pgd", max_iterations=50)
    assert other.objective >= result.objective - result.gap - noise
    assert result.objective >= other.objective - other.gap - noise
    moved = 0.9 * result.labels + 0.1 * random.dirichlet(np.ones(clusters), size=points)
    if known:
        fixed = options["known_labels"] >= 0
        moved[fixed] = result.labels[fixed]
    shares = options.get("prior", np.full(clusters, 1 / clusters))
    there = objective_reference(probs, moved, objective=objective, prior=shares, fairness_weight=weight)
    assert there >= result.objective - result.gap - noise


EXTREMES = {
    "uniform rows": np.full((40, 5), 0.2),
    "one row": np.array([[0.7, 0.2, 0.1]]),
    "one uniform row": np.full((1, 4), 0.25),
    "fewer points than clusters": softmax(np.random.default_rng(1).normal(size=(3, 60))),
    "repeated rows": np.repeat(softmax(np.random.default_rng(2).normal(size=(4, 6))), 30, axis=0),
    "one-hot rows of one class": np.eye(5)[np.zeros(64, dtype=int)],
    "one-hot rows of all": np.eye(5)[np.arange(64) % 5],
    "a class without support": np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0]] * 20),
    "two clusters": softmax(np.random.default_rng(3).normal(size=(65, 2))),
    "rounded logits": softmax(np.round(3 * np.random.default_rng(4).normal(size=(129, 10)))),
    "saturated": softmax(1000 * np.random.default_rng(5).normal(size=(100, 8))),
    "an unbalanced batch": softmax(np.random.default_rng(6).normal(size=(100, 8)) + 30 * np.eye(8)[0]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weight", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("objective", BOTH)
@pytest.mark.parametrize("probs", EXTREMES.values(), ids=EXTREMES.keys())
def test_extremes(probs: np.ndarray, objective: str, weight: float) -> None:
    result = solve(probs, objective=objective, fairness_weight=weight)
    assert result.gap <= 1e-8 * (1 + weight)  # nearly always 1e-10, where it stops by itself
    assert result.iterations <= 30
