"""Losses of the peers' methods against published equations and known answers."""

import math

import pytest
import torch

from cce_ray.losses import (
    collision_cross_entropy,
    collision_cross_entropy_from_probs,
    confident_cross_entropy,
    contrastive_loss,
    invariant_information_loss,
    mutual_information_parts,
    neighbour_consistency,
    prediction_divergence,
    shannon_cross_entropy,
    virtual_adversarial_loss,
)

LARGE = 50.0


def confident(clusters: torch.Tensor, num_clusters: int) -> torch.Tensor:
    """Logits of (nearly) one-hot predictions."""
    return LARGE * torch.nn.functional.one_hot(clusters, num_clusters).float()


def test_mutual_information_of_balanced_confident_predictions_is_ln_k() -> None:
    logits = confident(torch.arange(12) % 4, 4)
    parts = mutual_information_parts(logits, logits.softmax(1).mean(0))
    assert sum(parts.values()).item() == pytest.approx(-math.log(4), abs=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("weight", [1.0, 1.3])
def test_mutual_information_of_one_cluster_is_zero(weight: float) -> None:
    logits = confident(torch.zeros(8, dtype=torch.long), 4)
    parts = mutual_information_parts(logits, logits.softmax(1).mean(0), weight)
    assert sum(parts.values()).item() == pytest.approx(0, abs=1e-6)  # type: ignore[union-attr]


def test_mutual_information_is_the_mean_divergence_from_the_mean() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = logits.softmax(1)
    parts = mutual_information_parts(logits, probs.mean(0))
    divergence = (probs * (probs / probs.mean(0)).log()).sum(1).mean()
    assert -sum(parts.values()).item() == pytest.approx(divergence.item(), abs=1e-12)  # type: ignore[union-attr]


def test_invariant_information_of_equal_balanced_views_is_ln_k() -> None:
    assert invariant_information_loss(torch.eye(5) / 5).item() == pytest.approx(-math.log(5), abs=1e-5)


def test_invariant_information_of_independent_views_is_zero() -> None:
    shares = torch.tensor([0.5, 0.3, 0.2])
    assert invariant_information_loss(torch.outer(shares, shares)).item() == pytest.approx(0, abs=1e-6)


def test_invariant_information_takes_the_views_in_either_order() -> None:
    joint = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    joint /= joint.sum()
    assert torch.allclose(invariant_information_loss(joint), invariant_information_loss(joint.T))


def test_neighbour_consistency_is_the_collision_cross_entropy_of_two_predictions() -> None:
    random = torch.Generator().manual_seed(0)
    own, other = (torch.randn(9, 4, generator=random) for _ in range(2))
    expected = collision_cross_entropy_from_probs(own.softmax(1), other.softmax(1))
    assert torch.allclose(neighbour_consistency(own, other), expected, atol=1e-6)
    assert torch.isfinite(neighbour_consistency(1e4 * own, 1e4 * other)).all()


def test_confident_cross_entropy_weighs_clusters_equally_and_leaves_the_unsure_out() -> None:
    targets = torch.tensor([[0.999, 0.001], [0.999, 0.001], [0.001, 0.999], [0.6, 0.4]])
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0], [9.0, -9.0]])
    losses = torch.nn.functional.cross_entropy(logits[:3], torch.tensor([0, 0, 1]), reduction="none")
    expected = (losses[:2].mean() + losses[2]) / 2
    assert torch.allclose(confident_cross_entropy(logits, targets, 0.99), expected)
    assert confident_cross_entropy(logits, targets, 0.9999).item() == 0


def test_the_adversarial_step_of_a_linear_model_lies_in_the_span_of_its_weights() -> None:
    """Two classes: the prediction changes only along the difference of the weights, and by as much as a step
    of the whole radius along it."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 6, generator=random)
    inputs = torch.randn(20, 6, generator=random)

    def predict(points: torch.Tensor) -> torch.Tensor:
        return points @ weights.T

    logits = predict(inputs)
    start = torch.randn(20, 6, generator=random)
    found = virtual_adversarial_loss(
        inputs, logits, predict, start=start, radius=0.5, probe=0.01, iterations=2
    )
    along = (weights[0] - weights[1]) / (weights[0] - weights[1]).norm()
    either = [prediction_divergence(logits, predict(inputs + sign * 0.5 * along)) for sign in (1, -1)]
    nearest = torch.minimum((found - either[0]).abs(), (found - either[1]).abs())
    assert nearest.max().item() < 1e-4
    assert found.min().item() > 0


def test_divergence_teaches_the_second_prediction_only() -> None:
    logits, changed = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    prediction_divergence(logits, changed).sum().backward()
    assert logits.grad is None
    assert changed.grad is not None and changed.grad.abs().sum() > 0
    assert prediction_divergence(logits, logits).abs().max().item() < 1e-6


def test_forward_correction_is_collision_cross_entropy_on_softened_labels() -> None:
    """Q = (1-η) I + η u: -ln (Qᵀσ)_c of Patrini et al. is H₂(ŷ, σ), ŷ = (1-η) e_c + η u (the paper's §3)."""
    clusters, eta = 5, 0.4
    logits = torch.randn(30, clusters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    observed = torch.arange(30) % clusters
    transition = (1 - eta) * torch.eye(clusters, dtype=torch.float64) + eta / clusters
    corrected = -(logits.softmax(1) @ transition)[torch.arange(30), observed].log()
    soft = (1 - eta) * torch.nn.functional.one_hot(observed, clusters).double() + eta / clusters
    assert torch.allclose(collision_cross_entropy(logits, soft), corrected, atol=1e-12)
    assert not torch.allclose(shannon_cross_entropy(logits, soft), corrected, atol=1e-2)


def test_contrastive_loss_of_equal_views_among_orthogonal_ones() -> None:
    """Each partner has similarity 1, the others 0: ln(1 + (2B - 2) e^(-1/τ))."""
    projections = 3.0 * torch.eye(5, 8)
    expected = math.log(1 + 8 * math.exp(-1 / 0.5))
    assert contrastive_loss(projections, projections, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_contrastive_loss_is_the_sum_over_both_orders() -> None:
    random = torch.Generator().manual_seed(0)
    first, second = (
        torch.nn.functional.normalize(torch.randn(4, 6, generator=random), dim=1) for _ in range(2)
    )
    everything = torch.cat([first, second])
    losses = []
    for row in range(8):
        scores = [(everything[row] @ everything[other]).item() / 0.2 for other in range(8) if other != row]
        partner = (everything[row] @ everything[(row + 4) % 8]).item() / 0.2
        losses.append(math.log(sum(math.exp(score) for score in scores)) - partner)
    assert contrastive_loss(first, second, 0.2).item() == pytest.approx(sum(losses) / 8, abs=1e-5)
