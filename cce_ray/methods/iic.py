"""Invariant information clustering: Ji, Henriques & Vedaldi, ICCV 2019."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class IIC(MethodSettings):
    """-I(c(x), c(x')) of a sample and its augmented copy, their equation (3).

    Deviations: the over-clustering head learns in every step beside the head, not in epochs of its own; one
    head of each kind, not five; one augmented copy a step.
    """

    name: Literal["iic"] = "iic"
    entropy_weight: float = Field(default=1.0, gt=0)
    """Weight of the clusters' entropies in the mutual information; 1 as published."""
    over_clusters: int = Field(default=0, ge=0)
    """Outputs of a second head which learns finer clusters (they use 5 K for MNIST); 0: none."""

    @property
    def compares_views(self) -> bool:
        """Two of them."""
        return True

    @property
    def extra_clusters(self) -> int:
        """The second head."""
        return self.over_clusters

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Minus the mutual information of the views, for each head."""
        assert step.augmented_logits is not None
        parts = {"information": self._between(step, step.logits, step.augmented_logits)}
        if step.extra_logits is not None and step.augmented_extra_logits is not None:
            parts["over_clustering"] = self._between(step, step.extra_logits, step.augmented_extra_logits)
        return parts

    def _between(self, step: Step, logits: Tensor, augmented: Tensor) -> Tensor:
        from cce_ray.losses import invariant_information_loss

        pairs = logits.softmax(1).unsqueeze(2) * augmented.softmax(1).unsqueeze(1)
        return invariant_information_loss(step.mean(pairs), self.entropy_weight)
