"""ResNet-18, with the stem for small images that the self-supervised literature uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from cce_ray.models.model_settings import ModelSettings, require_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

_LARGEST_SMALL_SIDE = 64


@final
class ResNet18(ModelSettings):
    """torchvision's ResNet-18, untrained, for any number of channels."""

    name: Literal["resnet18"] = "resnet18"
    stem: Literal["auto", "small", "standard"] = "auto"
    """small: a 3x3 convolution of stride 1 and no pooling; auto: that up to 64 pixels a side."""

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Images of at least 8 pixels a side; see ``ModelSettings.layers``."""
        from torch import nn
        from torchvision.models import resnet18

        from cce_ray.models.classifier import linear_head

        require_image(self.name, input_shape, smallest_side=8)
        backbone = resnet18(weights=None)
        small = self.stem == "small" or (self.stem == "auto" and max(input_shape[1:]) <= _LARGEST_SMALL_SIDE)
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        backbone.conv1 = nn.Conv2d(input_shape[0], 64, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        if small:
            backbone.maxpool = nn.Identity()
        num_features = backbone.fc.in_features
        backbone.fc = nn.Identity()
        return backbone, linear_head(num_features, num_clusters)
