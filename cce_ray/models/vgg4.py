"""VGG4 of the paper's Table 8, in its three forms."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal, final

from cce_ray.models.model_settings import ModelSettings, require_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

# Side of the images each form is made for: channels of its four convolutions, and their stride.
FORMS: dict[int, tuple[tuple[int, int, int, int], int]] = {
    28: ((64, 128, 256, 512), 1),
    32: ((32, 64, 128, 256), 1),
    96: ((128, 256, 512, 1024), 2),
}


@final
class VGG4(ModelSettings):
    """Four 5x5 convolutions with batch norm and ReLU, 2x2 max pooling after the first three.

    Table 8 gives a form for 28x28 grey, one for 32x32 and one for 96x96 colour images; images of another
    size take the nearest form (30x30: by colour), with a head of the size that comes out.
    """

    name: Literal["vgg4"] = "vgg4"

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Images of at least 8 pixels a side; see ``ModelSettings.layers``."""
        from torch import nn

        from cce_ray.models.classifier import feature_count, linear_head

        require_image(self.name, input_shape, smallest_side=8)
        widths, stride = FORMS[nearest_form(input_shape)]
        stack: list[nn.Module] = []
        for depth, (wide_in, wide_out) in enumerate(pairwise((input_shape[0], *widths))):
            # Batch norm has a shift of its own, so the convolution's bias would be a dead parameter.
            stack += [nn.Conv2d(wide_in, wide_out, 5, stride=stride, padding=2, bias=False)]
            stack += [nn.BatchNorm2d(wide_out), nn.ReLU(inplace=True)]
            stack += [nn.MaxPool2d(2, stride=2)] if depth < 3 else []
        backbone = nn.Sequential(*stack, nn.Flatten())
        return backbone, linear_head(feature_count(backbone, input_shape), num_clusters)


def nearest_form(input_shape: Sequence[int]) -> int:
    """Key of ``FORMS`` for images (C, H, W)."""
    side = min(input_shape[1:])
    preferred = 28 if input_shape[0] == 1 else 32
    return min(FORMS, key=lambda form: (abs(form - side), form != preferred))
