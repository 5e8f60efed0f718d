"""Self-labelling with Shannon's cross-entropy and soft pseudo-labels, loss (5) of Zhang & Boykov (after Jabi
et al., Deep Clustering: On the Link Between Discriminative Models and K-Means), solved to tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cce_ray.methods.self_labelling import SelfLabelling, Weight

if TYPE_CHECKING:
    from torch import Tensor


class Shannon(SelfLabelling):
    """mean H(y, σ) + λ KL(ȳ‖u) over y and the network."""

    name: Literal["shannon"] = "shannon"
    fairness_weight: Weight = 1.0
    """λ, the factor on KL(ȳ‖u); loss (5) has 1."""

    objective: ClassVar[str] = "shannon"

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """H(y, σ) of (8)."""
        from cce_ray.losses import shannon_cross_entropy

        return shannon_cross_entropy(logits, labels)
