"""Shannon's cross-entropy in both orders, the entropies of (1), and the fairness terms of (10) and (11)."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import entropy as relative_entropy

from cce_ray.losses import (
    entropy,
    kl_from_prior,
    kl_to_prior,
    reversed_shannon_cross_entropy,
    shannon_cross_entropy,
    softmax_entropy,
)


def _rows(seed: int, rows: int = 6, num_clusters: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(2 * torch.randn(rows, num_clusters, dtype=torch.float64, generator=generator), -1)


def test_shannon_orders_against_the_definition() -> None:
    labels, probs = _rows(0), _rows(1)
    torch.testing.assert_close(shannon_cross_entropy(probs.log(), labels), -(labels * probs.log()).sum(-1))
    torch.testing.assert_close(
        reversed_shannon_cross_entropy(probs.log(), labels), -(probs * labels.log()).sum(-1)
    )


def test_shannon_matches_torch_for_class_labels() -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(8) % 5
    expected = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
    torch.testing.assert_close(
        shannon_cross_entropy(logits, torch.nn.functional.one_hot(classes, 5)), expected
    )


def test_cross_entropy_is_entropy_plus_divergence() -> None:
    labels, probs = _rows(0), _rows(1)
    divergence = torch.stack([kl_to_prior(y, p) for y, p in zip(labels, probs, strict=True)])
    torch.testing.assert_close(shannon_cross_entropy(probs.log(), labels), entropy(labels) + divergence)


@pytest.mark.parametrize("loss", [shannon_cross_entropy, reversed_shannon_cross_entropy])
def test_one_hot_labels_and_huge_logits_stay_finite(loss: Callable[..., torch.Tensor]) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    value = loss(logits, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert value[0] > 50
    assert value[1] == 0


@pytest.mark.parametrize("loss", [shannon_cross_entropy, reversed_shannon_cross_entropy])
def test_shannon_gradcheck(loss: Callable[..., torch.Tensor]) -> None:
    logits = _rows(2).log().requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits, _rows(3).requires_grad_()))


def test_half_logits_are_widened() -> None:
    logits = _rows(4).log().bfloat16()
    for loss in (shannon_cross_entropy, reversed_shannon_cross_entropy):
        value = loss(logits, _rows(5).float())
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(logits.float(), _rows(5).float()))
    assert softmax_entropy(logits).dtype == torch.float32


def test_entropy_known_values_and_safe_zero() -> None:
    probs = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    value = entropy(probs)
    value.sum().backward()
    torch.testing.assert_close(value, torch.tensor([math.log(2), 0.0]))
    assert probs.grad is not None
    assert torch.isfinite(probs.grad).all()


def test_softmax_entropy_agrees_and_survives_saturation() -> None:
    probs = _rows(6)
    torch.testing.assert_close(softmax_entropy(probs.log()), entropy(probs))
    logits = torch.tensor([[1e4, -1e4], [1e4, 1e4]], requires_grad=True)
    value = softmax_entropy(logits)
    value.sum().backward()
    torch.testing.assert_close(value, torch.tensor([0.0, math.log(2)]))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert torch.autograd.gradcheck(softmax_entropy, _rows(7).log().requires_grad_())


def test_fairness_terms_against_scipy() -> None:
    mean_labels, prior = _rows(8, rows=2)
    assert kl_to_prior(mean_labels, prior).item() == pytest.approx(relative_entropy(mean_labels, prior))
    assert kl_from_prior(mean_labels, prior).item() == pytest.approx(relative_entropy(prior, mean_labels))


@pytest.mark.parametrize("term", [kl_to_prior, kl_from_prior])
def test_fairness_is_zero_at_the_prior_only_and_uniform_by_default(term: Callable[..., torch.Tensor]) -> None:
    prior = _rows(9, rows=1)[0]
    assert term(prior, prior).item() == pytest.approx(0, abs=1e-12)
    assert term(torch.full((4,), 0.25)).item() == pytest.approx(0, abs=1e-7)
    assert term(prior).item() == pytest.approx(term(prior, torch.full_like(prior, 0.2)).item())
    assert term(prior).item() > 1e-3
    assert torch.autograd.gradcheck(term, (prior.clone().requires_grad_(), _rows(10, rows=1)[0]))


def test_an_empty_cluster_is_bounded_in_ten_and_unbounded_in_eleven() -> None:
    mean_labels = torch.tensor([1.0, 0.0], requires_grad=True)
    assert kl_to_prior(mean_labels).item() == pytest.approx(math.log(2))
    assert kl_from_prior(mean_labels).item() > 40
    (kl_to_prior(mean_labels) + kl_from_prior(mean_labels)).backward()
    assert mean_labels.grad is not None
    assert torch.isfinite(mean_labels.grad).all()


def test_a_class_of_prior_zero_is_not_wanted() -> None:
    prior = torch.tensor([0.5, 0.5, 0.0])
    assert kl_from_prior(torch.tensor([0.5, 0.5, 0.0]), prior).item() == pytest.approx(0, abs=1e-6)
    assert kl_to_prior(torch.tensor([0.4, 0.4, 0.2]), prior).item() > 10


def test_mutual_information_of_perfect_balanced_predictions_is_ln_k() -> None:
    logits = 100.0 * torch.eye(4)
    mutual_information = entropy(torch.softmax(logits, -1).mean(0)) - softmax_entropy(logits).mean()
    assert mutual_information.item() == pytest.approx(math.log(4), rel=1e-6)
