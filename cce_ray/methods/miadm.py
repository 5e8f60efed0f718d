"""MI-ADM: Jabi, Pedersoli, Mitiche & Ben Ayed, Deep Clustering: On the Link Between Discriminative Models and
K-Means, TPAMI 2021; loss (5) of Zhang & Boykov by closed-form updates of y."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

import numpy as np
from pydantic import Field

from cce_ray.methods.self_labelling import PseudoLabelled, uncertified

if TYPE_CHECKING:
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


@final
class MIADM(PseudoLabelled):
    """mean H(y, σ) + λ KL(ȳ‖u), y by one step of an alternating direction method in closed form.

    `shannon` solves the same loss for y to tolerance; this step stays near σ, by a penalty KL(y‖σ), and takes
    the rows' normalisers as equal, see `pseudo_labels.closed_form`. Deviation: their paper was not at hand,
    and the step is derived from its abstract and from loss (5); its penalty may have another weight.
    """

    name: Literal["miadm"] = "miadm"
    fairness_weight: float = Field(default=1.0, gt=0)
    """λ, on KL(ȳ‖u); loss (5) has 1."""

    def labels(
        self,
        probs: Tensor,
        settings: PseudoLabelSettings,
        known_labels: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> PseudoLabels:
        """Soft y (B, K) in one step."""
        from cce_ray.pseudo_labels import balanced_labels

        found = balanced_labels(
            np.asarray(probs), fairness_weight=self.fairness_weight, known_labels=known_labels
        )
        return uncertified(found.astype(np.float32), probs, 1, 0.0)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """H(y, σ) of (8)."""
        from cce_ray.losses import shannon_cross_entropy

        return shannon_cross_entropy(logits, labels)
