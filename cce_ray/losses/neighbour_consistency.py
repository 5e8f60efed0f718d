"""The losses of SCAN: Van Gansbeke et al., Learning to Classify Images without Labels, ECCV 2020."""

import torch
from torch.nn import functional as F


def neighbour_consistency(logits: torch.Tensor, neighbour_logits: torch.Tensor) -> torch.Tensor:
    """-ln Σ_k σ_k(x) σ_k(x') per pair, (B,): the first term of their equation (2).

    It is the collision cross-entropy of the two predictions, here in both arguments from logits (B, K).
    """
    logits, neighbour_logits = logits.float(), neighbour_logits.float()
    return -torch.logsumexp(torch.log_softmax(logits, -1) + torch.log_softmax(neighbour_logits, -1), -1)


def confident_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, threshold: float) -> torch.Tensor:
    """Cross-entropy against the arg max of confident targets (their §2.3), a scalar; 0 if none is confident.

    Args:
        logits: (B, K), of a disturbed copy.
        targets: (B, K) probabilities, taken as constants.
        threshold: samples count whose largest probability exceeds it.

    Every cluster among the confident samples has the same total weight.
    """
    confidence, clusters = targets.detach().max(-1)
    chosen = confidence > threshold
    if not bool(chosen.any()):
        return logits.sum() * 0.0
    clusters = clusters[chosen]
    sizes = torch.bincount(clusters, minlength=targets.shape[-1]).to(logits.dtype)
    weights = 1 / sizes[clusters]
    losses = F.cross_entropy(logits[chosen].float(), clusters, reduction="none")
    return (losses * weights).sum() / weights.sum()
