"""A multi-layer perceptron on the flattened sample."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import Field

from cce_ray.models.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@final
class MLP(ModelSettings):
    """Linear layers with ReLU, and batch norm between them by default."""

    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (512, 512)
    """Widths of the hidden layers."""
    batch_norm: bool = True
    """Batch norm after every hidden layer."""

    def layers(self, input_shape: Sequence[int], num_clusters: int) -> tuple[nn.Module, nn.Module]:
        """Any sample shape; see ``ModelSettings.layers``."""
        from torch import nn

        from cce_ray.models.classifier import linear_head

        stack: list[nn.Module] = [nn.Flatten()]
        for wide_in, wide_out in pairwise((math.prod(input_shape), *self.hidden)):
            # Batch norm has a shift of its own, so the layer's bias would be a dead parameter.
            stack += [nn.Linear(wide_in, wide_out, bias=not self.batch_norm)]
            stack += [nn.BatchNorm1d(wide_out)] if self.batch_norm else []
            stack += [nn.ReLU(inplace=True)]
        return nn.Sequential(*stack), linear_head(self.hidden[-1], num_clusters)
