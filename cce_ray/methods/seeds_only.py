"""Learning from the known labels alone: "only seeds" of the paper's Table 5."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, final

from cce_ray.methods.base import MethodSettings, Step

if TYPE_CHECKING:
    from torch import Tensor


@final
class SeedsOnly(MethodSettings):
    """The supervised loss of `supervision` and nothing else: what the unlabelled samples must add to.

    Batches of all samples pass through the network like any method's, so that batch norms know them.
    """

    name: Literal["seeds_only"] = "seeds_only"

    needs_known_labels: ClassVar[bool] = True

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Nothing of its own."""
        return {"unlabelled": step.logits.sum() * 0.0}
