"""IMSAT: Hu, Miyato, Tokui, Matsumoto & Sugiyama, Learning Discrete Representations via Information
Maximizing Self-Augmented Training, ICML 2017."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class IMSAT(MethodSettings):
    """Consistent predictions, and mutual information: mean KL(σ(x)‖σ(x')) + information_weight · (mean H(σ) -
    balance_weight · H(σ̄)), their equation (7) with the balance weighted as in (10).

    Deviations: x' is at a fixed share of the inputs' norm, not of the distance to each sample's tenth
    neighbour; the entropies' batch is the optimiser's.
    """

    name: Literal["imsat"] = "imsat"
    consistency: Literal["adversarial", "augmentation"] = "adversarial"
    """What x' is: the virtual adversarial neighbour (any data), or an augmented copy (images)."""
    information_weight: float = Field(default=0.1, gt=0)
    """Their λ, on the mutual information."""
    balance_weight: float = Field(default=4.0, gt=0)
    """Their μ, on the entropy of the mean prediction."""
    radius: float = Field(default=0.2, gt=0)
    """Length of the adversarial step, as a share of the root mean square norm of the normalised inputs."""
    power_iterations: int = Field(default=1, ge=1)
    """Steps to find the adversarial direction."""

    @property
    def compares_views(self) -> bool:
        """If consistency is asked of it."""
        return self.consistency == "augmentation"

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Consistency and the two entropies."""
        from cce_ray.losses import mutual_information_parts

        information = mutual_information_parts(
            step.logits, step.mean(step.logits.softmax(1)), self.balance_weight
        )
        parts = {name: self.information_weight * value for name, value in information.items()}
        return {"consistency": self._inconsistency(step).mean()} | parts

    def _inconsistency(self, step: Step) -> Tensor:
        from cce_ray.losses import prediction_divergence, virtual_adversarial_loss

        if step.augmented_logits is not None:
            return prediction_divergence(step.logits, step.augmented_logits)
        assert step.inputs is not None and step.predict is not None
        inputs = step.inputs()
        norm = float(step.mean(inputs.flatten(1).square().sum(1)).sqrt())
        radius = self.radius * max(norm, 1e-6)
        return virtual_adversarial_loss(
            inputs,
            step.logits,
            step.predict,
            start=step.normal(inputs),
            radius=radius,
            probe=0.1 * radius,
            iterations=self.power_iterations,
        )
