"""One Gaussian per cluster, with variances of its own: the form in which a mixture labels new data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, final

from cce_ray.models.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@final
class Gaussians(ModelSettings):
    """Logits are ln weight + ln N(x; mean, diagonal variance), on flat normalised samples: their softmax is
    the posterior of the mixture."""

    name: Literal["gaussians"] = "gaussians"

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Any sample shape; see ``ModelSettings.layers``."""
        from torch import nn

        from cce_ray.models.classifier import GaussianHead

        return nn.Flatten(), GaussianHead(num_clusters, math.prod(input_shape))
