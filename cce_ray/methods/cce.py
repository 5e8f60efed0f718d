"""Collision cross-entropy clustering with the fairness term of loss (10) of Zhang & Boykov, Collision
Cross-entropy for Soft Class Labels and Deep Clustering: pseudo-labels by projected gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cce_ray.methods.self_labelling import SelfLabelling, Weight

if TYPE_CHECKING:
    from torch import Tensor


class CCE(SelfLabelling):
    """mean H₂(y, σ) + λ KL(ȳ‖u) over y and the network."""

    name: Literal["cce"] = "cce"
    fairness_weight: Weight = 100.0
    """λ of (10), the factor on KL(ȳ‖u) against the *mean* collision cross-entropy; the paper uses 100."""

    objective: ClassVar[str] = "cce"

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """H₂(y, σ) of (9)."""
        from cce_ray.losses import collision_cross_entropy

        return collision_cross_entropy(logits, labels)
