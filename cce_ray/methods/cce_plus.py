"""Collision cross-entropy clustering, loss (11) of Zhang & Boykov, Collision Cross-entropy for Soft Class
Labels and Deep Clustering: pseudo-labels by EM, the network by gradient descent (Algorithm 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cce_ray.methods.self_labelling import SelfLabelling, Weight

if TYPE_CHECKING:
    from torch import Tensor


class CCEPlus(SelfLabelling):
    """mean H₂(y, σ) + λ KL(u‖ȳ) over y and the network."""

    name: Literal["cce_plus"] = "cce_plus"
    fairness_weight: Weight = 100.0
    """λ of (11), the factor on KL(u‖ȳ) against the *mean* collision cross-entropy; the paper uses 100."""

    objective: ClassVar[str] = "cce_plus"

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """H₂(y, σ) of (9)."""
        from cce_ray.losses import collision_cross_entropy

        return collision_cross_entropy(logits, labels)
