"""The contrastive loss of SimCLR: Chen, Kornblith, Norouzi & Hinton, ICML 2020, equation (1)."""

import torch
from torch.nn import functional as F


def contrastive_loss(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent: which of the other 2B - 1 projections belongs to the same sample? A scalar, in nats.

    Cross-entropy of the softmax of cosine similarities over ``temperature``, mean over both orders.

    Args:
        first, second: projections (B, D) of two views; row i of both is sample i.
        temperature: τ > 0; the smaller, the more the hardest negatives count.
    """
    count = len(first)
    projections = F.normalize(torch.cat([first, second]).float(), dim=1)
    similarities = projections @ projections.T / temperature
    similarities = similarities.masked_fill(
        torch.eye(2 * count, dtype=torch.bool, device=first.device), -torch.inf
    )
    partners = torch.arange(2 * count, device=first.device).roll(count)
    return F.cross_entropy(similarities, partners)
