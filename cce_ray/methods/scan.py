"""SCAN: Van Gansbeke, Vandenhende, Georgoulis, Proesmans & Van Gool, Learning to Classify Images without
Labels, ECCV 2020."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import AfterValidator, Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class SCAN(MethodSettings):
    """A sample and its nearest neighbours in a fixed embedding belong to one cluster, their equation (2);
    then the network learns from its own confident predictions (their §2.3).

    Deviations: the neighbours are those of `embedding`, or, without one, of the standardised embeddings or
    the pixels' principal components, as the run's data are; the clustering step sees samples as they are; the
    self-labelling step follows inside the same run.
    """

    name: Literal["scan"] = "scan"
    neighbours: int = Field(default=20, ge=1)
    """Nearest neighbours of a sample, of which one is drawn in every epoch; they use 20 (50 for STL-10)."""
    embedding: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] | None = None
    """File (.npy, .npz or .parquet) with one row a sample in which neighbours are sought; `cce embed` writes
    one."""
    entropy_weight: float = Field(default=5.0, gt=0)
    """Their λ, on the entropy of the mean prediction."""
    self_labelling: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps, at the end, in which confident predictions teach an augmented copy."""
    confidence_threshold: float = Field(default=0.99, gt=0, lt=1)
    """How probable the predicted cluster must be for that."""

    @property
    def compares_views(self) -> bool:
        """If there is a step of self-labelling."""
        return self.self_labelling > 0

    @property
    def num_neighbours(self) -> int:
        """All that are asked for."""
        return self.neighbours

    @property
    def neighbour_embedding(self) -> Path | None:
        """The given one."""
        return self.embedding

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Consistency of neighbours and balance; or, at the end, the confident samples' cross-entropy."""
        from cce_ray.losses import confident_cross_entropy, entropy, neighbour_consistency

        assert step.neighbour_logits is not None
        probs = step.logits.softmax(1)
        if step.progress >= 1 - self.self_labelling:
            assert step.augmented_logits is not None
            taught = confident_cross_entropy(
                step.whole(step.augmented_logits), step.whole(probs), self.confidence_threshold
            )
            zero = taught.detach() * 0
            return {"consistency": zero, "fairness": zero, "self_labelling": taught}
        parts = {
            "consistency": neighbour_consistency(step.logits, step.neighbour_logits).mean(),
            "fairness": -self.entropy_weight * entropy(step.mean(probs)),
        }
        if self.self_labelling:
            parts["self_labelling"] = parts["consistency"].detach() * 0
        return parts
