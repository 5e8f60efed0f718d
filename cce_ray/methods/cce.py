"""Collision cross-entropy clustering with the fairness term of loss (10) of Zhang & Boykov, Collision
Cross-entropy for Soft Class Labels and Deep Clustering: pseudo-labels by projected gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cce_ray.methods.base import MethodSettings, two_view_loss

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


class CCE(MethodSettings):
    """mean H₂(y, σ) + λ KL(ȳ‖u) over y and the network."""

    name: Literal["cce"] = "cce"
    fairness_weight: float = Field(default=100.0, gt=0)
    """λ of (10), as a factor on KL(ȳ‖u) against the *mean* collision cross-entropy; the paper uses 100."""
    augmentation_weight: float = Field(default=0.0, ge=0)
    """Weight of H₂(y, σ(aug x)); 0: no augmented view is computed."""

    scopes: ClassVar[frozenset[str]] = frozenset({"batch"})

    def labels(
        self, probs: Tensor, settings: PseudoLabelSettings, known_labels: np.ndarray | None = None
    ) -> PseudoLabels:
        """y of (10), by projected gradient descent started at σ."""
        return settings.estimate(
            probs, fairness_weight=self.fairness_weight, objective="cce", known_labels=known_labels
        )

    def loss(self, logits: Tensor, augmented_logits: Tensor | None, labels: Tensor) -> dict[str, Tensor]:
        """H₂(y, σ), and the same for the augmented view."""
        from cce_ray.losses import collision_cross_entropy

        return two_view_loss(
            collision_cross_entropy, logits, augmented_logits, labels, self.augmentation_weight
        )
