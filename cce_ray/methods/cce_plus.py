"""Collision cross-entropy clustering, loss (11) of Zhang & Boykov, Collision Cross-entropy for Soft Class
Labels and Deep Clustering: pseudo-labels by EM, the network by gradient descent (Algorithm 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cce_ray.methods.base import MethodSettings, two_view_loss

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


class CCEPlus(MethodSettings):
    """mean H₂(y, σ) + λ KL(u‖ȳ) over y and the network."""

    name: Literal["cce_plus"] = "cce_plus"
    fairness_weight: float = Field(default=100.0, gt=0)
    """λ of (11), as a factor on KL(u‖ȳ) against the *mean* collision cross-entropy; the paper uses 100."""
    augmentation_weight: float = Field(default=0.0, ge=0)
    """Weight of H₂(y, σ(aug x)); 0: no augmented view is computed."""

    scopes: ClassVar[frozenset[str]] = frozenset({"batch"})

    def labels(
        self, probs: Tensor, settings: PseudoLabelSettings, known_labels: np.ndarray | None = None
    ) -> PseudoLabels:
        """y of (11), by default by EM warm-started at σ."""
        return settings.estimate(
            probs, fairness_weight=self.fairness_weight, objective="cce_plus", known_labels=known_labels
        )

    def loss(self, logits: Tensor, augmented_logits: Tensor | None, labels: Tensor) -> dict[str, Tensor]:
        """H₂(y, σ), and the same for the augmented view."""
        from cce_ray.losses import collision_cross_entropy

        return two_view_loss(
            collision_cross_entropy, logits, augmented_logits, labels, self.augmentation_weight
        )
