"""Losses: pure functions of tensors, a point's loss per row; means and weights are the method's business."""

from cce_ray.losses.collision import collision_cross_entropy, collision_cross_entropy_from_probs
from cce_ray.losses.contrastive import contrastive_loss
from cce_ray.losses.entropy import entropy, softmax_entropy
from cce_ray.losses.fairness import kl_from_prior, kl_to_prior
from cce_ray.losses.invariant_information import invariant_information_loss
from cce_ray.losses.mutual_information import mutual_information_parts
from cce_ray.losses.neighbour_consistency import confident_cross_entropy, neighbour_consistency
from cce_ray.losses.shannon import reversed_shannon_cross_entropy, shannon_cross_entropy
from cce_ray.losses.virtual_adversarial import prediction_divergence, virtual_adversarial_loss

__all__ = [
    "collision_cross_entropy",
    "collision_cross_entropy_from_probs",
    "confident_cross_entropy",
    "contrastive_loss",
    "entropy",
    "invariant_information_loss",
    "kl_from_prior",
    "kl_to_prior",
    "mutual_information_parts",
    "neighbour_consistency",
    "prediction_divergence",
    "reversed_shannon_cross_entropy",
    "shannon_cross_entropy",
    "softmax_entropy",
    "virtual_adversarial_loss",
]
