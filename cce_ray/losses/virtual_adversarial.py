"""Consistency of predictions under small changes of the input: virtual adversarial ones (Miyato et al., 2018)
and given ones, as in IMSAT (Hu et al., ICML 2017)."""

from collections.abc import Callable

import torch

Predict = Callable[[torch.Tensor], torch.Tensor]


def prediction_divergence(logits: torch.Tensor, changed_logits: torch.Tensor) -> torch.Tensor:
    """KL(σ‖σ') per point, (B,), from logits (B, K); σ of ``logits`` is a constant."""
    log_probs = torch.log_softmax(logits.detach().float(), -1)
    changed = torch.log_softmax(changed_logits.float(), -1)
    return (log_probs.exp() * (log_probs - changed)).sum(-1)


def _adversarial_direction(
    inputs: torch.Tensor,
    logits: torch.Tensor,
    predict: Predict,
    *,
    start: torch.Tensor,
    probe: float,
    iterations: int = 1,
) -> torch.Tensor:
    """Unit vectors (B, ...) along which the predictions change the most, by power iteration from ``start``.

    The divergence's gradient a step of length ``probe`` away is about its Hessian times the direction.
    """
    direction = _unit(start)
    for _ in range(iterations):
        direction.requires_grad_(True)
        divergence = prediction_divergence(logits, predict(inputs + probe * direction)).sum()
        (gradient,) = torch.autograd.grad(divergence, direction)
        # A point whose prediction does not move at all keeps its direction.
        flat = gradient.flatten(1).abs().amax(1).reshape(-1, *[1] * (gradient.ndim - 1))
        direction = torch.where(flat > 0, _unit(gradient), direction.detach()).detach()
    return direction


def virtual_adversarial_loss(
    inputs: torch.Tensor,
    logits: torch.Tensor,
    predict: Predict,
    *,
    start: torch.Tensor,
    radius: float,
    probe: float,
    iterations: int = 1,
) -> torch.Tensor:
    """KL(σ(x)‖σ(x + r)) per point, (B,), at the adversarial r of length ``radius``; gradient through the
    second prediction only.

    Args:
        inputs: (B, ...), what ``predict`` maps to logits (B, K).
        logits: predict(inputs).
        start: (B, ...) random directions, from which the adversarial ones are found; their length is ignored.
        radius, probe: lengths in the units of the inputs.
    """
    found = _adversarial_direction(inputs, logits, predict, start=start, probe=probe, iterations=iterations)
    return prediction_divergence(logits, predict(inputs + radius * found))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    flat = vectors.flatten(1)
    largest = flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    scaled = flat / largest  # tiny gradients would have a norm of zero
    return (scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1e-12)).reshape(vectors.shape)
