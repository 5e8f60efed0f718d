"""The linear classifier of the paper's Table 2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, final

from cce_ray.models.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@final
class Linear(ModelSettings):
    """Logits are a linear function of the flattened sample: Kaiming weights, zero bias."""

    name: Literal["linear"] = "linear"

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Any sample shape; see ``ModelSettings.layers``."""
        from torch import nn

        from cce_ray.models.classifier import linear_head

        return nn.Flatten(), linear_head(math.prod(input_shape), num_clusters)
