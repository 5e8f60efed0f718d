"""SeLa: Asano, Rupprecht & Vedaldi, Self-labelling via Simultaneous Clustering and Representation Learning,
ICLR 2020; loss (4) of Zhang & Boykov."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step
from cce_ray.methods.self_labelling import both_views, uncertified

if TYPE_CHECKING:
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


MARGINAL_TOLERANCE = 1e-3
"""Relative error of the clusters' shares at which the scaling ends (theirs is 0.1)."""


@final
class SeLa(MethodSettings):
    """mean H(y, σ) over the network and one-hot y of equal shares, y by Sinkhorn-Knopp.

    Deviations: y is estimated in every batch (`pseudo_labels.scope` dataset: once an epoch, as they do every
    few epochs); one head, not ten.
    """

    name: Literal["sela"] = "sela"
    sharpness: float = Field(default=25.0, gt=0)
    """Their λ: the power of σ in the transport's kernel."""
    augmentation_weight: float = Field(default=0.0, ge=0)
    """Weight of the augmented view's cross-entropy; 0: no augmented view is computed."""

    scopes: ClassVar[frozenset[str]] = frozenset({"batch", "rank", "dataset"})

    @property
    def wants_augmented_view(self) -> bool:
        """If it has a weight."""
        return self.augmentation_weight > 0

    def labels(
        self,
        probs: Tensor,
        settings: PseudoLabelSettings,
        known_labels: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> PseudoLabels:
        """One-hot y (B, K) near equal shares; `max_iterations` and `tolerance` limit the scaling."""
        from cce_ray.pseudo_labels.sinkhorn import hardened, sinkhorn

        plan, iterations, error = sinkhorn(
            np.asarray(probs),
            sharpness=self.sharpness,
            known_labels=known_labels,
            max_iterations=settings.max_iterations,
            tolerance=max(settings.tolerance, MARGINAL_TOLERANCE),
        )
        return uncertified(hardened(plan), probs, iterations, error)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Shannon's cross-entropy of both views against y."""
        from cce_ray.losses import shannon_cross_entropy

        return both_views(shannon_cross_entropy, step, self.augmentation_weight)
