"""Shannon's entropy: the two terms of the mutual information loss (1), mean H(σ) - H(mean σ)."""

import torch

from cce_ray.losses.precision import floored_log, widened


def entropy(probs: torch.Tensor) -> torch.Tensor:
    """H(p) = -Σ_k p_k ln p_k over the last axis: (..., K) -> (...), with 0 ln 0 = 0 and a finite gradient
    there.

    On the mean prediction (K,) it is the fairness term of (1).
    """
    (probs,) = widened(probs)
    return -(probs * floored_log(probs)).sum(-1)


def softmax_entropy(logits: torch.Tensor) -> torch.Tensor:
    """H(softmax(logits)) over the last axis: (..., K) -> (...); its mean is the decisiveness term of (1).

    Computed from log-probabilities, so that saturated logits (±1e4) give 0 with a zero gradient, not NaN.
    """
    (logits,) = widened(logits)
    log_probs = torch.log_softmax(logits, -1)
    return -(log_probs.exp() * log_probs).sum(-1)
