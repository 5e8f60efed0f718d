"""Criteria in one embedding, against scikit-learn and cases with known answers."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import Ridge
from sklearn.metrics import silhouette_score

from cce_ray.metrics import chosen_points, make_shared_space, mutual_information
from cce_ray.metrics.shared_space import FOLDS, RIDGE, SharedSpace


def blobs(count: int = 600, dimensions: int = 8, centers: int = 4) -> tuple[np.ndarray, np.ndarray]:
    points, classes, *_ = make_blobs(count, dimensions, centers=centers, cluster_std=1.0, random_state=0)
    return points.astype(np.float32), classes.astype(np.int64)


def space_of(points: np.ndarray) -> SharedSpace:
    rows = chosen_points(len(points))
    return make_shared_space(rows, points[rows])


def test_the_probe_is_scikit_learns_ridge_regression_on_held_out_folds() -> None:
    points, classes = blobs()
    noisy = classes.copy()
    noisy[::7] = (noisy[::7] + 1) % 4
    space = space_of(points)
    own, found = noisy[space.rows], []
    for part in np.array_split(np.arange(len(own)), FOLDS):
        rest = np.setdiff1d(np.arange(len(own)), part)
        targets = np.eye(4)[own[rest]]
        probe = Ridge(RIDGE, fit_intercept=False).fit(space.embedding[rest], targets)
        found.append((probe.predict(space.embedding[part]) + targets.mean(0)).argmax(1))
    right = np.concatenate(found) == own
    expected = np.mean([right[own == k].mean() for k in range(4)])
    assert space.generalization(noisy, 4) == pytest.approx(expected, abs=0.005)


def test_classes_are_found_again_and_chance_is_not() -> None:
    points, classes = blobs()
    space = space_of(points)
    assert space.generalization(classes, 4) > 0.99
    assert space.generalization(np.random.default_rng(0).integers(0, 4, len(points)), 4) < 0.35


def test_the_silhouette_is_scikit_learns() -> None:
    points, classes = blobs()
    space = space_of(points)
    expected = silhouette_score(space.embedding, classes[space.rows])
    assert space.silhouette(classes) == pytest.approx(expected, abs=1e-4)
    assert space.silhouette(np.zeros(len(points), np.int64)) == -1


def test_a_large_set_is_sampled() -> None:
    points, classes = blobs(30_000, 3)
    space = space_of(points)
    assert len(space.rows) == 10_000
    assert space.generalization(classes, 4) > 0.9


@pytest.mark.parametrize("points", [np.zeros((4, 3), np.float32), np.full((50, 2), np.nan, np.float32)])
def test_what_cannot_be_judged_in_is_told(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="embedding"):
        space_of(points)


def test_mutual_information_of_sure_and_of_undecided_predictions() -> None:
    assert mutual_information(np.eye(4)[np.arange(40) % 4]) == pytest.approx(np.log(4))
    assert mutual_information(np.full((40, 4), 0.25)) == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.eye(4)[np.zeros(40, int)]) == pytest.approx(0, abs=1e-12)
