"""SeLa: Asano, Rupprecht & Vedaldi, Self-labelling via Simultaneous Clustering and Representation Learning,
ICLR 2020; loss (4) of Zhang & Boykov."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

import numpy as np
from pydantic import Field

from cce_ray.methods.self_labelling import PseudoLabelled, uncertified

if TYPE_CHECKING:
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


_MARGINAL_TOLERANCE = 1e-3
"""Relative error of the clusters' shares at which the scaling ends (theirs is 0.1)."""


@final
class SeLa(PseudoLabelled):
    """mean H(y, σ) over the network and one-hot y of equal shares, y by Sinkhorn-Knopp.

    Deviations: y is estimated in every batch (`pseudo_labels.scope` dataset: once an epoch, as they do every
    few epochs); one head, not ten.
    """

    name: Literal["sela"] = "sela"
    sharpness: float = Field(default=25.0, gt=0)
    """Their λ: the power of σ in the transport's kernel."""

    def labels(
        self,
        probs: Tensor,
        settings: PseudoLabelSettings,
        known_labels: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> PseudoLabels:
        """One-hot y (B, K) near equal shares; `max_iterations` and `tolerance` limit the scaling."""
        from cce_ray.pseudo_labels import hardened, sinkhorn

        plan, iterations, error = sinkhorn(
            np.asarray(probs),
            sharpness=self.sharpness,
            known_labels=known_labels,
            max_iterations=settings.max_iterations,
            tolerance=max(settings.tolerance, _MARGINAL_TOLERANCE),
        )
        return uncertified(hardened(plan), probs, iterations, error)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """H(y, σ) of (8)."""
        from cce_ray.losses import shannon_cross_entropy

        return shannon_cross_entropy(logits, labels)
