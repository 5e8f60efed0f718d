"""What the methods share that alternate between soft pseudo-labels and the network (Algorithm 2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings

Weight = Annotated[float, Field(gt=0)]


class SelfLabelling(MethodSettings):
    """Abstract: a cross-entropy between y and σ, and an objective that y minimises given σ."""

    fairness_weight: Weight
    """λ, the factor on the fairness term against the *mean* cross-entropy over the points."""
    augmentation_weight: float = Field(default=0.0, ge=0)
    """Weight of the augmented view's cross-entropy; 0: no augmented view is computed."""

    scopes: ClassVar[frozenset[str]] = frozenset({"batch", "rank", "dataset"})
    objective: ClassVar[str]

    @property
    def objective_terms(self) -> dict[str, Any]:
        """λ, and which objective it weighs."""
        return {"fairness_weight": self.fairness_weight, "objective": self.objective}

    @property
    def wants_augmented_view(self) -> bool:
        """If it has a weight."""
        return self.augmentation_weight > 0

    @abstractmethod
    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of each point, (B,), from logits and labels (B, K)."""

    def labels(
        self,
        probs: Tensor,
        settings: PseudoLabelSettings,
        known_labels: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> PseudoLabels:
        """y (B, K) that minimises the objective for the predictions σ, warm-started at σ."""
        labels: PseudoLabels = settings.estimate(
            probs,
            **self.objective_terms,
            known_labels=known_labels,
            prior=prior,
        )
        return labels

    def loss(self, step: Step) -> dict[str, Tensor]:
        """mean H(y, σ(x)) + augmentation_weight · mean H(y, σ(aug x)): one y teaches both views."""
        return both_views(self.cross_entropy, step, self.augmentation_weight)


def both_views(
    cross_entropy: Callable[[Tensor, Tensor], Tensor], step: Step, augmentation_weight: float
) -> dict[str, Tensor]:
    """mean H(y, σ(x)), and augmentation_weight · mean H(y, σ(aug x)) where there is an augmented view.

    `cross_entropy` takes logits and labels (B, K) to (B,).
    """
    assert step.labels is not None
    parts = {"cross_entropy": cross_entropy(step.logits, step.labels).mean()}
    if step.augmented_logits is not None:
        augmented = cross_entropy(step.augmented_logits, step.labels).mean()
        parts["augmented"] = augmentation_weight * augmented
    return parts


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
