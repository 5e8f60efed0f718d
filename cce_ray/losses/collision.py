"""Collision cross-entropy, equation (9): H₂(y, σ) = -ln Σ_k y_k σ_k."""

import torch

from cce_ray.losses.precision import floored_log, widened

_LARGEST_EXPONENT = 80.0  # exp(80) = 5.5e34 is still finite in float32, so that 0 * exp(.) cannot become NaN


def collision_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """H₂(y, softmax(logits)) of (9), per point.

    ``logits`` (..., K) are of any floating type, ``labels`` (..., K) are rows of the simplex, zeros allowed.
    Returns (...) in float32, or float64 if either argument is. Differentiable in both. -ln Σ_k y_k σ_k is
    evaluated as logsumexp(l) - logsumexp(l + ln y) without forming σ, so it is exact where σ underflows
    (logits of ±1e4), and the value is the true one even where every supported class has probability 0 in
    floating point.
    """
    logits, labels = widened(logits, labels)
    supported = labels > 0
    off_support = torch.full_like(logits, -torch.inf)
    # Each sum is taken relative to its own largest logit: large numbers cancel before anything is rounded,
    # hence equal logits and uniform labels give a zero gradient also far from the origin.
    top = logits.detach().amax(-1, keepdim=True)
    top_supported = torch.where(supported, logits.detach(), off_support).amax(-1, keepdim=True)
    log_labels = torch.where(supported, labels, 1.0).log()
    joint = torch.where(supported, logits - top_supported + log_labels, off_support)
    log_joint = torch.logsumexp(joint, -1)
    loss = (top - top_supported).squeeze(-1) + torch.logsumexp(logits - top, -1) - log_joint
    if labels.requires_grad:
        loss = loss - _zero_label_term(logits - top_supported, labels, log_joint)
    return loss


def collision_cross_entropy_from_probs(labels: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    """H₂(y, σ) of (9) from two arrays (..., K) of rows of the simplex; symmetric in its arguments.

    Returns (...). Where the two rows share no support the value is infinite in theory and here -ln of the
    smallest normal number (87 in float32) with zero gradient; from logits, `collision_cross_entropy` is exact
    there too.
    """
    labels, probs = widened(labels, probs)
    return -floored_log((labels * probs).sum(-1))


def _zero_label_term(logits: torch.Tensor, labels: torch.Tensor, log_joint: torch.Tensor) -> torch.Tensor:
    """A term of value zero that gives labels equal to zero their derivative -σ_k / Σ_j y_j σ_j.

    The logarithmic form has none to give: ln 0 is left out of it.
    """
    exponent = (logits - log_joint.unsqueeze(-1)).detach().clamp_max(_LARGEST_EXPONENT)
    return (torch.where(labels > 0, 0.0, labels) * exponent.exp()).sum(-1)
