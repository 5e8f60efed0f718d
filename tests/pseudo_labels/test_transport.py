"""Pseudo-labels of SeLa and of MI-ADM: marginals, limits, known rows."""

import numpy as np
import pytest

from cce_ray.pseudo_labels.solvers.closed_form import balanced_labels
from cce_ray.pseudo_labels.solvers.sinkhorn import hardened, sinkhorn


def predictions(points: int, clusters: int, seed: int = 0) -> np.ndarray:
    logits = 2 * np.random.default_rng(seed).normal(size=(points, clusters)) + np.linspace(0, 2, clusters)
    probs = np.exp(logits)
    return (probs / probs.sum(1, keepdims=True)).astype(np.float32)


def test_rows_and_columns_have_the_wanted_sums() -> None:
    prior = np.array([0.5, 0.3, 0.15, 0.05])
    plan, iterations, error = sinkhorn(predictions(200, 4), sharpness=5, prior=prior, tolerance=1e-9)
    np.testing.assert_allclose(plan.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(plan.mean(0), prior, atol=1e-9)
    assert error <= 1e-9 and iterations < 1000


def test_a_sharp_plan_is_the_optimal_assignment() -> None:
    """λ large: the linear assignment of points to places, as many of them for every cluster."""
    from scipy.optimize import linear_sum_assignment

    probs = predictions(24, 4, seed=3)
    plan, _, _ = sinkhorn(probs, sharpness=400, max_iterations=20000, tolerance=1e-6)
    rows, places = linear_sum_assignment(np.repeat(-np.log(probs), 6, axis=1))
    hard = hardened(plan)
    assert (hard.argmax(1)[rows] == places // 6).all()
    assert set(np.unique(hard)) == {0.0, 1.0}


def test_extreme_predictions_stay_finite() -> None:
    probs = np.zeros((50, 5), np.float32)
    probs[:, 0] = 1.0  # a collapsed network
    plan, _, _ = sinkhorn(probs, sharpness=25)
    assert np.isfinite(plan).all()
    np.testing.assert_allclose(plan.mean(0), 0.2, atol=1e-2)


@pytest.mark.parametrize("estimate", ["sinkhorn", "closed_form"])
def test_known_rows_are_kept(estimate: str) -> None:
    probs = predictions(60, 3)
    known = np.full(60, -1)
    known[:6] = [2, 2, 1, 0, 2, 1]
    if estimate == "sinkhorn":
        labels, _, _ = sinkhorn(probs, sharpness=10, known_labels=known, tolerance=1e-8)
        np.testing.assert_allclose(labels.mean(0), 1 / 3, atol=1e-6)
    else:
        labels = balanced_labels(probs, known_labels=known)
    np.testing.assert_array_equal(labels[:6], np.eye(3)[known[:6]])
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-9)


def test_the_closed_form_at_weight_one_is_the_square_root() -> None:
    probs = predictions(80, 4).astype(np.float64)
    expected = probs**2 / np.sqrt((probs**2).sum(0))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(balanced_labels(probs, fairness_weight=1), expected, atol=1e-12)


def test_the_closed_form_is_stationary_where_the_normalisers_of_the_rows_are_equal() -> None:
    """Symmetric predictions, permutations of a row: ȳ is uniform, and y ∝ σ² minimises H(y, σ) + KL(y‖σ)."""
    row = np.array([0.7, 0.2, 0.1])
    probs = np.stack([np.roll(row, shift) for shift in range(3)])
    expected = probs**2 / (row**2).sum()
    np.testing.assert_allclose(balanced_labels(probs, fairness_weight=3), expected, atol=1e-12)


@pytest.mark.parametrize("fairness_weight", [0.3, 1.0, 30.0])
def test_the_closed_form_lowers_the_loss_it_is_for(fairness_weight: float) -> None:
    """Loss (5) at the predictions themselves, against that at the labels."""
    probs = predictions(400, 5).astype(np.float64)

    def loss(labels: np.ndarray) -> float:
        mean = labels.mean(0)
        fairness = float((mean * np.log(mean * labels.shape[1])).sum())
        return float(-(labels * np.log(probs)).sum(1).mean()) + fairness_weight * fairness

    assert loss(balanced_labels(probs, fairness_weight=fairness_weight)) < loss(probs)


def test_large_clusters_give_way() -> None:
    probs = predictions(500, 4)
    before, after = probs.mean(0), balanced_labels(probs, fairness_weight=5).mean(0)
    assert after.max() - after.min() < before.max() - before.min()
