"""Criteria without labels and the watch for collapse."""

import numpy as np
import pytest

from cce_ray.metrics import (
    cluster_sizes,
    collapse_warning,
    label_churn,
    mean_confidence,
    stability,
    used_clusters,
)


def test_sizes_and_used_clusters() -> None:
    sizes = cluster_sizes(np.array([0, 0, 3]), 5)
    assert sizes.tolist() == [2, 0, 0, 1, 0]
    assert used_clusters(sizes) == 2
    assert used_clusters(np.array([100, 90, 7, 6, 0, 300, 100, 100, 100, 100])) == 7
    assert used_clusters(np.array([10, 9, 1])) == 3
    assert used_clusters(np.array([0, 1, 1, 1]), share=0.0) == 3


def test_mean_confidence_and_churn() -> None:
    assert mean_confidence(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)) == pytest.approx(0.7)
    before = np.array([0, 1, 2, 2])
    assert label_churn(before, before) == 0
    assert label_churn(before, np.array([0, 1, 1, 0])) == 0.5


@pytest.mark.parametrize("num_clusters", [2, 3, 10, 100])
def test_sound_runs_raise_no_warning(num_clusters: int) -> None:
    even = np.full(num_clusters, 50)
    assert collapse_warning(even, 0.9) is None
    long_tailed = np.ceil(1000 * 0.97 ** np.arange(num_clusters)).astype(int)
    assert collapse_warning(long_tailed, 0.6) is None


def test_few_used_clusters_are_named_with_their_remedies() -> None:
    warning = collapse_warning(np.array([500, 500] + [0] * 8), 0.95)
    assert warning is not None
    assert "2 of 10 clusters" in warning
    for setting in (
        "method.fairness_weight",
        "pseudo_labels.max_iterations",
        "optimizer.learning_rate",
        "data.standardize",
    ):
        assert setting in warning
    assert "\n" not in warning


def test_one_giant_cluster_is_named_though_others_live() -> None:
    warning = collapse_warning(np.array([800, 40, 40, 40, 40, 40]), 0.9)
    assert warning is not None
    assert "80%" in warning
    assert "clusters are in use" not in warning


def test_indecision_is_named_with_other_remedies() -> None:
    warning = collapse_warning(np.full(10, 100), 0.11)
    assert warning is not None
    assert "0.11" in warning
    assert "larger optimizer.learning_rate" in warning
    assert "method.augmentation_weight" in warning


def test_every_reason_is_named_and_the_advice_does_not_contradict_itself() -> None:
    warning = collapse_warning(np.array([1000] + [0] * 9), 0.12)
    assert warning is not None
    assert "1 of 10" in warning and "100%" in warning and "0.12" in warning
    assert warning.count("method.fairness_weight") == 1


def test_stability_is_the_mean_agreement_with_the_others_whatever_the_ids() -> None:
    first = np.array([0, 0, 1, 1, 2, 2])
    renamed = np.array([2, 2, 0, 0, 1, 1])
    merged = np.array([0, 0, 0, 0, 1, 1])
    assert stability([first, renamed]).tolist() == [1.0, 1.0]
    scores = stability([first, renamed, merged])
    assert scores[0] == scores[1] > scores[2]
