"""The properties section 3 of the paper claims for collision cross-entropy, and its numerical edges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cce_ray.losses import (
    collision_cross_entropy,
    collision_cross_entropy_from_probs,
    shannon_cross_entropy,
)


def _row(num_clusters: int, low: float = 1e-3) -> st.SearchStrategy[torch.Tensor]:
    weights = arrays(np.float64, num_clusters, elements=st.floats(low, 1.0))
    return weights.map(lambda w: torch.from_numpy(w / w.sum()))


pairs = st.integers(2, 12).flatmap(lambda k: st.tuples(_row(k), _row(k)))


def _collision_entropy(probs: torch.Tensor) -> torch.Tensor:
    return -probs.square().sum(-1).log()


@given(pairs)
@settings(max_examples=60)
def test_symmetric_and_equal_from_logits_and_probs(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    p, q = pair
    from_probs = collision_cross_entropy_from_probs(p, q)
    torch.testing.assert_close(from_probs, collision_cross_entropy_from_probs(q, p), rtol=0, atol=0)
    torch.testing.assert_close(collision_cross_entropy(q.log(), p), from_probs)
    torch.testing.assert_close(collision_cross_entropy(p.log() + 3.0, q), from_probs)


@given(pairs)
@settings(max_examples=60)
def test_decomposition_into_angle_and_collision_entropies(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    p, q = pair
    cosine = (p @ q) / (p.norm() * q.norm())
    expected = -cosine.log() + (_collision_entropy(p) + _collision_entropy(q)) / 2
    torch.testing.assert_close(collision_cross_entropy(q.log(), p), expected)


@given(st.integers(2, 12).flatmap(lambda k: st.tuples(_row(k), st.integers(0, k - 1))))
@settings(max_examples=60)
def test_equals_shannon_for_one_hot_labels(case: tuple[torch.Tensor, int]) -> None:
    probs, label = case
    labels = torch.nn.functional.one_hot(torch.tensor(label), len(probs))
    logits = probs.log().requires_grad_()
    collision, shannon = (loss(logits, labels) for loss in (collision_cross_entropy, shannon_cross_entropy))
    torch.testing.assert_close(collision, shannon)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (collision, shannon)]
    torch.testing.assert_close(*gradients)


@given(pairs, st.floats(0, 1e4))
@settings(max_examples=60)
def test_bounded_for_soft_labels(pair: tuple[torch.Tensor, torch.Tensor], scale: float) -> None:
    """-ln max y <= H₂(y, σ) <= -ln min y for every σ, while Shannon's grows with the logits."""
    labels, direction = pair
    loss = collision_cross_entropy(direction * scale, labels)
    assert -labels.max().log() - 1e-9 <= loss <= -labels.min().log() + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_uniform_labels_teach_nothing(dtype: torch.dtype, offset: float) -> None:
    """Value ln K and no gradient, whatever the logits and however far from the origin."""
    logits = (torch.tensor([[0.0, 1.0, 5.0, -3.0], [0.0, 0.0, 0.0, 0.0]]) + offset).to(dtype).requires_grad_()
    loss = collision_cross_entropy(logits, torch.full((2, 4), 0.25))
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(4)), rtol=1e-6, atol=0)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_huge_logits_keep_value_and_gradient(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, -1e4], [-1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([[0.0, 0.5, 0.5], [0.2, 0.0, 0.8]])
    loss = collision_cross_entropy(logits, labels)
    loss.sum().backward()
    spread = (logits.detach().amax() - logits.detach().amin()).float()
    torch.testing.assert_close(loss.float(), spread.expand(2), rtol=1e-6, atol=1e-2)
    expected = torch.tensor([[1.0, -0.5, -0.5], [-0.2, 1.0, -0.8]], dtype=dtype)
    torch.testing.assert_close(logits.grad, expected)


def test_half_precision_computes_in_float32() -> None:
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.softmax(torch.randn(64, 10, generator=torch.Generator().manual_seed(1)), -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = collision_cross_entropy(logits, labels)
        from_probs = collision_cross_entropy_from_probs(labels, torch.softmax(logits.float(), -1))
    assert loss.dtype == torch.float32
    exact = collision_cross_entropy(logits.double(), labels.double())
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(from_probs, loss)


def test_gradcheck_in_both_arguments() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.softmax(torch.randn(5, 4, dtype=torch.float64, generator=generator), -1).requires_grad_()
    assert torch.autograd.gradcheck(collision_cross_entropy, (logits, labels))
    assert torch.autograd.gradgradcheck(lambda z: collision_cross_entropy(z, labels.detach()), logits)
    probs = torch.softmax(logits.detach(), -1).requires_grad_()
    assert torch.autograd.gradcheck(collision_cross_entropy_from_probs, (labels, probs))


def test_zero_labels_have_finite_exact_gradients() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0.0, 0.4, 0.6]], dtype=torch.float64, requires_grad=True)
    by_logits, by_labels = torch.autograd.grad(
        collision_cross_entropy(logits, labels).sum(), (logits, labels)
    )
    probs = torch.softmax(logits.detach(), -1)
    agreement = (labels.detach() * probs).sum()
    torch.testing.assert_close(by_labels, -probs / agreement)
    torch.testing.assert_close(by_logits, probs - labels.detach() * probs / agreement)


def test_disjoint_probability_vectors_give_a_large_finite_loss() -> None:
    labels = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = collision_cross_entropy_from_probs(labels, torch.tensor([[0.0, 1.0]]))
    loss.sum().backward()
    assert 80 < loss.item() < 100
    assert labels.grad is not None
    assert torch.isfinite(labels.grad).all()
