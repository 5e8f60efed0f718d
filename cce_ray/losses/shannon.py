"""Shannon's cross-entropy, equation (8), in both orders of its arguments."""

import torch

from cce_ray.losses.precision import floored_log, widened


def shannon_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """H(y, σ) = -Σ_k y_k ln σ_k of (8) with σ = softmax(logits), per point.

    ``logits`` (..., K) of any floating type, ``labels`` (..., K) rows of the simplex. Returns (...) in
    float32, or float64 if either argument is.
    """
    logits, labels = widened(logits, labels)
    return -(labels * torch.log_softmax(logits, -1)).sum(-1)


def reversed_shannon_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """H(σ, y) = -Σ_k σ_k ln y_k with σ = softmax(logits), per point: the reversed order, robust to wrong
    labels.

    Shapes and types as in `shannon_cross_entropy`. ln y is floored at the type's smallest normal number (-87
    in float32), so that one-hot labels give a finite loss.
    """
    logits, labels = widened(logits, labels)
    return -(torch.softmax(logits, -1) * floored_log(labels)).sum(-1)
