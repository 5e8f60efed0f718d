"""One centre per cluster: the form in which k-means labels new data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import Field

from cce_ray.models.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@final
class Centroids(ModelSettings):
    """Logits are −(squared distance to the centre) · inverse temperature, on flat normalised samples."""

    name: Literal["centroids"] = "centroids"
    inverse_temperature: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the squared distances: the larger, the more confident."""

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Any sample shape; see ``ModelSettings.layers``."""
        from torch import nn

        from cce_ray.models.classifier import CentroidHead

        return nn.Flatten(), CentroidHead(num_clusters, math.prod(input_shape), self.inverse_temperature)
