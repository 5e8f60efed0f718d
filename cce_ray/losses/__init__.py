"""Losses: pure functions of tensors, a point's loss per row; means and weights are the method's business."""

from cce_ray.losses.collision import collision_cross_entropy, collision_cross_entropy_from_probs
from cce_ray.losses.entropy import entropy, softmax_entropy
from cce_ray.losses.fairness import kl_from_prior, kl_to_prior
from cce_ray.losses.shannon import reversed_shannon_cross_entropy, shannon_cross_entropy

__all__ = [
    "collision_cross_entropy",
    "collision_cross_entropy_from_probs",
    "entropy",
    "kl_from_prior",
    "kl_to_prior",
    "reversed_shannon_cross_entropy",
    "shannon_cross_entropy",
    "softmax_entropy",
]
