"""A small convolutional network, for images as small as 8x8."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import Field

from cce_ray.models.model_settings import ModelSettings, require_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@final
class CNN(ModelSettings):
    """3x3 convolutions, each with batch norm and ReLU, 2x2 max pooling after each of the first two."""

    name: Literal["cnn"] = "cnn"
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (32, 64, 128)
    """Channels of the convolutions, one convolution per entry."""
    pooling: Literal["flatten", "average"] = "flatten"
    """What the head sees: every position of the last feature map, or its average over positions."""

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Images of at least 4 pixels a side; see ``ModelSettings.layers``."""
        from torch import nn

        from cce_ray.models.classifier import feature_count, linear_head

        require_image(self.name, input_shape, smallest_side=4)
        stack: list[nn.Module] = []
        for depth, (wide_in, wide_out) in enumerate(pairwise((input_shape[0], *self.widths))):
            # Batch norm has a shift of its own, so the convolution's bias would be a dead parameter.
            stack += [nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False), nn.BatchNorm2d(wide_out)]
            stack += [nn.ReLU(inplace=True)]
            stack += [nn.MaxPool2d(2)] if depth < 2 else []
        stack += [nn.AdaptiveAvgPool2d(1)] if self.pooling == "average" else []
        backbone = nn.Sequential(*stack, nn.Flatten())
        return backbone, linear_head(feature_count(backbone, input_shape), num_clusters)
