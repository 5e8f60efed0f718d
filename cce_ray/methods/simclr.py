"""SimCLR pre-training: Chen, Kornblith, Norouzi & Hinton, A Simple Framework for Contrastive Learning of
Visual Representations, ICML 2020; the pretext of SCAN and of the paper's Table 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, final

from pydantic import Field

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class SimCLR(MethodSettings):
    """Two augmented copies of a sample are told from those of all others; nothing is clustered.

    What it is for is the backbone: `cce embed DATA --backbone RUN -o FILE` writes its features, and
    `model.weights=RUN/model.pt` starts another run from it. The clusters of its own run are those of a head
    that never learns. Deviation: batches of the optimiser's size, Adam or SGD, not LARS.
    """

    name: Literal["simclr"] = "simclr"
    temperature: float = Field(default=0.5, gt=0)
    """τ of their equation (1)."""
    projection: int = Field(default=128, ge=2)
    """Width of the projections that are compared; a layer as wide as the features stands before it."""

    both_views_augmented: ClassVar[bool] = True
    extra_head_layers: ClassVar[int] = 2

    @property
    def compares_views(self) -> bool:
        """Two of them."""
        return True

    @property
    def extra_clusters(self) -> int:
        """The projection head."""
        return self.projection

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The contrastive loss of the projections."""
        from cce_ray.losses import contrastive_loss

        assert step.extra_logits is not None and step.augmented_extra_logits is not None
        first, second = step.whole(step.extra_logits), step.whole(step.augmented_extra_logits)
        compared = contrastive_loss(first, second, self.temperature)
        return {"contrastive": compared + 0.0 * step.logits.sum()}
