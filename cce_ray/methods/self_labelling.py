"""What the methods share that alternate between soft pseudo-labels and the network (Algorithm 2)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings

Weight = Annotated[float, Field(gt=0)]


class PseudoLabelled(MethodSettings):
    """Abstract: a cross-entropy between pseudo-labels y, however they are estimated, and σ."""

    augmentation_weight: float = Field(default=0.0, ge=0)
    """Weight of the augmented view's cross-entropy; 0: no augmented view is computed."""

    scopes: ClassVar[frozenset[str]] = frozenset({"batch", "rank", "dataset"})

    @property
    def wants_augmented_view(self) -> bool:
        """If it has a weight."""
        return self.augmentation_weight > 0

    @abstractmethod
    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of each point, (B,), from logits and labels (B, K)."""

    def loss(self, step: Step) -> dict[str, Tensor]:
        """mean H(y, σ(x)) + augmentation_weight · mean H(y, σ(aug x)): one y teaches both views."""
        assert step.labels is not None
        parts = {"cross_entropy": self.cross_entropy(step.logits, step.labels).mean()}
        if step.augmented_logits is not None:
            augmented = self.cross_entropy(step.augmented_logits, step.labels).mean()
            parts["augmented"] = self.augmentation_weight * augmented
        return parts


class SelfLabelling(PseudoLabelled):
    """Abstract: one whose y minimises an objective given σ, which `estimate_pseudo_labels` solves."""

    fairness_weight: Weight
    """λ, the factor on the fairness term against the *mean* cross-entropy over the points."""

    objective: ClassVar[str]

    @property
    def objective_terms(self) -> dict[str, Any]:
        """λ, and which objective it weighs."""
        return {"fairness_weight": self.fairness_weight, "objective": self.objective}

    def labels(
        self,
        probs: Tensor,
        settings: PseudoLabelSettings,
        known_labels: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> PseudoLabels:
        """y (B, K) that minimises the objective for the predictions σ, warm-started at σ."""
        terms = self.objective_terms
        labels: PseudoLabels = settings.estimate(probs, **terms, known_labels=known_labels, prior=prior)
        return labels


def uncertified(labels: np.ndarray, probs: Tensor, iterations: int, change: float) -> PseudoLabels:
    """Labels (B, K) on no objective that could be certified, as a tensor beside the predictions."""
    import torch

    from cce_ray.pseudo_labels import PseudoLabels

    unknown = float("nan")
    return PseudoLabels(
        torch.from_numpy(labels).to(probs.device),
        lambda: unknown,
        lambda: unknown,
        (iterations, change),
        lambda: "tolerance",
    )
