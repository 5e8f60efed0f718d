"""The mutual information loss of Bridle, Heading & MacKay (1991), loss (1) of Zhang & Boykov."""

import torch

from cce_ray.losses.entropy import entropy, softmax_entropy


def mutual_information_parts(
    logits: torch.Tensor, mean_probs: torch.Tensor, fairness_weight: float = 1.0
) -> dict[str, torch.Tensor]:
    """mean H(σ) and -fairness_weight · H(σ̄): with weight 1 their sum is minus the mutual information of (1).

    Args:
        logits: (B, K).
        mean_probs: σ̄, (K,), the mean of softmax(logits) over the batch.
        fairness_weight: on the balance of the clusters; above 1 it is regularised information maximisation
            with a stronger balance (the paper's §10 uses 1.3).

    Returns scalars, in nats, in float32 or float64.
    """
    return {
        "decisiveness": softmax_entropy(logits).mean(),
        "fairness": -fairness_weight * entropy(mean_probs),
    }
