"""Regularised information maximisation by gradient descent (Krause, Perona & Gomes, Discriminative
Clustering by Regularized Information Maximization, NIPS 2010): loss (1) of Zhang & Boykov, its fairness
weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class MIGD(MethodSettings):
    """mean H(σ) - balance_weight · H(σ̄); the regulariser is `optimizer.weight_decay`, as in the paper's §10.

    Deviation from Krause et al.: the weight decay acts on all weights of the network, not on the linear
    classifier alone, and the number of clusters is fixed.
    """

    name: Literal["migd"] = "migd"
    balance_weight: float = Field(default=1.3, gt=0)
    """Weight of the entropy of the mean prediction; the paper uses 1.3."""

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The two entropies of (1), the second one weighted."""
        from cce_ray.losses import mutual_information_parts

        return mutual_information_parts(step.logits, step.mean(step.logits.softmax(1)), self.balance_weight)
