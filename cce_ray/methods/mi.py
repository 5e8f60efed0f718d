"""Clustering by mutual information, loss (1) of Zhang & Boykov, by gradient descent (Bridle, Heading &
MacKay, Unsupervised Classifiers, Mutual Information and 'Phantom Targets', NIPS 1991)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class MI(MethodSettings):
    """mean H(σ) - H(σ̄), the means over the batch: (1) as it stands, without a knob."""

    name: Literal["mi"] = "mi"

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The two entropies of (1)."""
        from cce_ray.losses import mutual_information_parts

        return mutual_information_parts(step.logits, step.mean(step.logits.softmax(1)))
