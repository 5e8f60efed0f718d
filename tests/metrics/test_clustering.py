"""Clustering scores: known answers, invariances, rectangular matchings."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cce_ray.metrics import (
    clustering_scores,
    confusion_matrix,
    hungarian_accuracy,
    match_clusters,
    matched_confusion,
)


def test_known_answer_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    clusters = np.array([2, 2, 0, 0, 0, 0, 1, 1])
    assert confusion_matrix(labels, clusters, 3).tolist() == [[1, 0, 2], [3, 0, 0], [0, 2, 0]]
    assert match_clusters(confusion_matrix(labels, clusters, 3)).tolist() == [1, 2, 0]
    assert hungarian_accuracy(labels, clusters, 3) == pytest.approx(7 / 8)


def test_greedy_matching_is_not_enough() -> None:
    """Taking the largest cell first gives 10 + 0; the optimum gives 9 + 9."""
    assert match_clusters(np.array([[10, 9], [9, 0]])).tolist() == [1, 0]


@pytest.mark.parametrize(("num_classes", "num_clusters"), [(3, 5), (5, 3), (4, 4), (1, 4)])
def test_rectangular_matching_is_the_best_of_all(num_classes: int, num_clusters: int) -> None:
    generator = np.random.default_rng(num_classes * 10 + num_clusters)
    labels = generator.integers(num_classes, size=60)
    clusters = generator.integers(num_clusters, size=60)
    confusion = confusion_matrix(labels, clusters, num_clusters, num_classes)
    wide = confusion if num_classes <= num_clusters else confusion.T
    best = max(
        sum(wide[row, column] for row, column in enumerate(columns))
        for columns in itertools.permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert hungarian_accuracy(labels, clusters, num_clusters, num_classes) == pytest.approx(best / 60)
    matching = match_clusters(confusion)
    assert (matching >= 0).sum() == min(num_classes, num_clusters)
    assert len(set(matching[matching >= 0])) == (matching >= 0).sum()


@given(st.integers(0, 1000), st.permutations(range(4)))
@settings(max_examples=30)
def test_scores_do_not_depend_on_the_names_of_the_clusters(seed: int, names: list[int]) -> None:
    generator = np.random.default_rng(seed)
    labels, clusters = generator.integers(3, size=50), generator.integers(4, size=50)
    scores = clustering_scores(labels, clusters, 4)
    assert scores == pytest.approx(clustering_scores(labels, np.array(names)[clusters], 4))
    assert set(scores) == {"accuracy", "nmi", "ari"}
    assert scores["ari"] <= 1 and 0 <= scores["nmi"] <= 1 and 0 < scores["accuracy"] <= 1


def test_perfect_and_collapsed_clusterings() -> None:
    labels = np.repeat(np.arange(5), 20)
    assert clustering_scores(labels, (labels + 2) % 5, 5) == pytest.approx(
        {"accuracy": 1, "nmi": 1, "ari": 1}
    )
    collapsed = clustering_scores(labels, np.zeros(100, int), 5)
    assert collapsed == pytest.approx({"accuracy": 0.2, "nmi": 0, "ari": 0})


def test_matched_confusion_has_agreement_on_the_diagonal_and_leftovers_last() -> None:
    labels = np.repeat(np.arange(3), 30)
    clusters = np.concatenate([np.full(30, 4), np.full(20, 1), np.full(10, 2), np.full(25, 0), np.full(5, 3)])
    matched = matched_confusion(labels, clusters, 5)
    assert matched.clusters.tolist() == [4, 1, 0, 2, 3]
    assert matched.num_matched == 3
    assert matched.counts.diagonal().tolist() == [30, 20, 25]
    assert matched.counts.sum() == 90
    few = matched_confusion(labels, np.minimum(labels, 1), 2)
    assert few.counts.shape == (3, 2)
    assert few.num_matched == 2


@pytest.mark.parametrize(
    ("labels", "clusters", "message"),
    [
        ([0, 1], [0], "one length"),
        ([], [], "non-empty"),
        ([0, -1], [0, 0], "labels run"),
        ([0, 1], [0, 3], "clusters run"),
    ],
)
def test_bad_vectors_are_refused_in_one_line(labels: list[int], clusters: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        clustering_scores(np.array(labels, int), np.array(clusters, int), 3)
    assert "\n" not in str(caught.value)
