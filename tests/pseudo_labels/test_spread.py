"""EM over points that are spread over several holders: the bits of one process, whoever holds what."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from pseudo_label_problems import priors

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.checks import start_rows
from cce_ray.pseudo_labels.mappers import Inline
from cce_ray.pseudo_labels.problem import group_blocks
from cce_ray.pseudo_labels.solvers.driver import Limits
from cce_ray.pseudo_labels.solvers.em_rows import EMRows
from cce_ray.pseudo_labels.solvers.spread import GatheredRows, estimate_spread, group_range, num_groups


def predictions(points: int, clusters: int, seed: int) -> np.ndarray:
    """Softmax of normals, float64."""
    exponentials = np.exp(2 * np.random.default_rng(seed).standard_normal((points, clusters)))
    probs: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probs


class Parts:
    """`Rows` of several EMRows in one process: what ranks are, one after the other."""

    def __init__(self, parts: list[EMRows]) -> None:
        self.parts = parts

    def sums(self) -> np.ndarray:
        return np.concatenate([part.sums() for part in self.parts])

    def advance(self, prices: np.ndarray) -> np.ndarray:
        return np.concatenate([part.advance(prices) for part in self.parts])

    def gaps(self, prices: np.ndarray) -> np.ndarray:
        return np.concatenate([part.gaps(prices) for part in self.parts])


def spread(
    probs: np.ndarray, size: int, weight: float, limits: Limits, prior: np.ndarray, slack: float
) -> tuple[np.ndarray, float, int]:
    labels = start_rows(probs, 0)
    ranges = [group_range(len(probs), rank, size) for rank in range(size)]
    assert ranges[0][0] == 0 and ranges[-1][1] == len(probs)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    rows = Parts(
        [
            EMRows(
                probs[first:last],
                labels[first:last],
                np.full(last - first, -1),
                weight,
                group_blocks(len(probs)),
                Inline(),
            )
            for first, last in ranges
            if first < last
        ]
    )
    result = estimate_spread(
        rows, num_points=len(probs), prior=prior, fairness_weight=weight, prior_slack=slack, limits=limits
    )
    return labels, result.certify(), result.iterations


@pytest.mark.parametrize("points", [5, 250, 16384, 16385, 40_003])
@pytest.mark.parametrize("slack", [0.0, 0.2])
def test_any_number_of_holders_gives_the_bits_of_one_process(points: int, slack: float) -> None:
    clusters = 7
    probs = predictions(points, clusters, seed=points).astype(np.float32)
    prior = priors(clusters, seed=1)
    whole = estimate_pseudo_labels(
        probs,
        fairness_weight=5,
        prior=prior,
        prior_slack=slack,
        solver="em",
        max_iterations=8,
        tolerance=1e-6,
    )
    for size in (1, 2, 3, 4, 7, 300):
        labels, gap, iterations = spread(probs, size, 5.0, Limits(8, 1e-6, None), prior, slack)
        assert np.array_equal(labels, whole.labels)
        assert iterations == whole.iterations
        assert gap == whole.gap  # so a wanted gap ends both after the same iteration


def test_a_wanted_gap_stops_spread_points_too() -> None:
    probs = predictions(3000, 5, seed=0)
    prior = np.full(5, 0.2)
    labels, gap, iterations = spread(probs, 3, 2.0, Limits(500, 0.0, 1e-2), prior, 0.0)
    assert gap <= 1e-2 and iterations < 500
    whole = estimate_pseudo_labels(
        probs, fairness_weight=2, solver="em", max_iterations=500, tolerance=0, gap_tolerance=1e-2
    )
    assert np.array_equal(labels, whole.labels)


class Meeting:
    """`Gather` for ranks that are threads."""

    def __init__(self, size: int) -> None:
        self._given: list[np.ndarray] = [np.empty(0)] * size
        self._barrier = threading.Barrier(size)

    def gather(self, rank: int, own: np.ndarray, counts: list[int]) -> np.ndarray:
        assert len(own) == counts[rank]
        self._given[rank] = own
        self._barrier.wait()
        everything = np.concatenate(self._given)
        self._barrier.wait()
        return everything


@pytest.mark.parametrize("points", [150, 16_500, 40_003])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_every_rank_of_a_group_arrives_at_the_bits_of_one_process(points: int, size: int) -> None:
    clusters, weight = 6, 8.0
    probs = predictions(points, clusters, seed=points).astype(np.float32)
    prior, meeting = priors(clusters, seed=2), Meeting(size)

    def run(rank: int) -> tuple[np.ndarray, float, int]:
        first, last = group_range(points, rank, size)
        own, labels = None, np.empty((0, clusters), np.float32)
        if first < last:
            labels = start_rows(probs[first:last], first)
            known = np.full(last - first, -1)
            own = EMRows(probs[first:last], labels, known, weight, group_blocks(points), Inline())
        rows = GatheredRows(
            own, lambda mine, counts: meeting.gather(rank, mine, counts), points, clusters, size
        )
        result = estimate_spread(
            rows,
            num_points=points,
            prior=prior,
            fairness_weight=weight,
            prior_slack=0.0,
            limits=Limits(9, 1e-6, None),
        )
        return labels, result.certify(), result.iterations

    with ThreadPoolExecutor(size) as pool:
        found = list(pool.map(run, range(size)))
    whole = estimate_pseudo_labels(
        probs, fairness_weight=weight, prior=prior, solver="em", max_iterations=9, tolerance=1e-6
    )
    assert np.array_equal(np.concatenate([labels for labels, _, _ in found]), whole.labels)
    assert {gap for _, gap, _ in found} == {whole.gap}
    assert {iterations for _, _, iterations in found} == {whole.iterations}


@pytest.mark.parametrize("size", [1, 3, 5])
def test_ranks_gather_in_their_order_even_those_that_hold_nothing(size: int) -> None:
    points, clusters = 150, 4  # three groups
    assert num_groups(points) == 3
    probs = predictions(points, clusters, seed=3)
    parts = []
    for rank in range(size):
        first, last = group_range(points, rank, size)
        labels = start_rows(probs[first:last], first) if first < last else None
        parts.append(
            None
            if labels is None
            else EMRows(probs[first:last], labels, np.full(last - first, -1), 2.0, 1, Inline())
        )
    whole = EMRows(probs, start_rows(probs, 0), np.full(points, -1), 2.0, 1, Inline())
    prices = np.linspace(0.5, 2.0, clusters)

    def of_all(question: str) -> list[np.ndarray]:
        asked = [getattr(part, question) for part in parts if part]
        return [ask() if question == "sums" else ask(prices) for ask in asked]

    for question in ("sums", "gaps", "advance"):
        everything = np.concatenate(of_all(question)).copy()

        def gather(own: np.ndarray, counts: list[int], everything: np.ndarray = everything) -> np.ndarray:
            assert sum(counts) == 3 and len(counts) == size
            assert len(own) == counts[size - 1]
            return everything

        rows = GatheredRows(parts[-1], gather, points, clusters, size)
        given = () if question == "sums" else (prices,)
        assert np.array_equal(getattr(rows, question)(*given), getattr(whole, question)(*given))


def test_a_row_that_is_no_distribution_is_named_by_its_place_in_the_whole() -> None:
    probs = predictions(100, 3, seed=0)
    probs[70] = 2.0
    with pytest.raises(ValueError, match=r"^probs: row 1070 sums to 6"):
        start_rows(probs, 1000)
