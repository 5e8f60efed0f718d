"""What every model's settings can do: build a classifier."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from cce_ray.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor, nn

    from cce_ray.models.classifier import Classifier


class ModelSettings(Settings):
    """Abstract. One concrete class per architecture, named by its ``name`` field."""

    weights: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] | None = None
    """A model file of an earlier run, such as `simclr`'s, from whose backbone this one starts; or a
    state_dict of the backbone alone (.pth)."""

    @abstractmethod
    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Fresh backbone, (B, *input_shape) -> (B, features), and head, (B, features) -> (B, K).

        Raises ValueError when the architecture does not take such samples.
        """

    def build(
        self,
        input_shape: Sequence[int],
        num_clusters: int,
        *,
        shift: np.ndarray | Tensor | None = None,
        scale: np.ndarray | Tensor | None = None,
    ) -> Classifier:
        """A classifier with fresh weights drawn from torch's global generator.

        Args:
            input_shape: (D,) for embeddings, (C, H, W) for images.
            num_clusters: K.
            shift, scale: normalisation in front of the network, see ``Classifier``.

        Raises:
            ValueError: the architecture does not take samples of this shape, or `weights` do not fit.
        """
        from cce_ray.models.classifier import Classifier

        backbone, head = self.layers(input_shape, num_clusters)
        if self.weights:
            from cce_ray.models.backbone_weights import load_backbone

            load_backbone(backbone, self.weights)
        return Classifier(
            backbone, head, input_shape=input_shape, num_clusters=num_clusters, shift=shift, scale=scale
        )


def require_image(model: str, input_shape: Sequence[int], smallest_side: int) -> None:
    """Refuse samples that are no images or too small for ``model`` (ValueError)."""
    if len(input_shape) != 3:
        raise ValueError(
            f"model.name: '{model}' takes images (C, H, W), not samples of shape {tuple(input_shape)}; "
            "use 'linear' or 'mlp' for embeddings"
        )
    if min(input_shape[1:]) < smallest_side:
        height, width = input_shape[1:]
        raise ValueError(
            f"model.name: '{model}' needs images of at least {smallest_side} pixels a side, not "
            f"{height}x{width}; use 'cnn', 'mlp' or 'linear', or larger images"
        )
