"""Self-labelling with Shannon's cross-entropy and soft pseudo-labels, loss (5) of Zhang & Boykov (after Jabi
et al., Deep Clustering: On the Link Between Discriminative Models and K-Means), solved to tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cce_ray.methods.base import MethodSettings, two_view_loss

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


class Shannon(MethodSettings):
    """mean H(y, σ) + λ KL(ȳ‖u) over y and the network."""

    name: Literal["shannon"] = "shannon"
    fairness_weight: float = Field(default=1.0, gt=0)
    """λ: factor on KL(ȳ‖u); loss (5) has 1."""
    augmentation_weight: float = Field(default=0.0, ge=0)
    """Weight of H(y, σ(aug x)); 0: no augmented view is computed."""

    scopes: ClassVar[frozenset[str]] = frozenset({"batch"})

    def labels(
        self, probs: Tensor, settings: PseudoLabelSettings, known_labels: np.ndarray | None = None
    ) -> PseudoLabels:
        """y of (5)."""
        return settings.estimate(
            probs, fairness_weight=self.fairness_weight, objective="shannon", known_labels=known_labels
        )

    def loss(self, logits: Tensor, augmented_logits: Tensor | None, labels: Tensor) -> dict[str, Tensor]:
        """H(y, σ), and the same for the augmented view."""
        from cce_ray.losses import shannon_cross_entropy

        return two_view_loss(
            shannon_cross_entropy, logits, augmented_logits, labels, self.augmentation_weight
        )
