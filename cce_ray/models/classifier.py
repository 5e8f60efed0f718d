"""The one module that is trained: normalisation, backbone and head in one object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def to_float(inputs: Tensor) -> Tensor:
    """Raw samples as float32: uint8 images become values in [0, 1], other numbers keep theirs."""
    return inputs.to(torch.float32) / 255 if inputs.dtype == torch.uint8 else inputs.to(torch.float32)


class Classifier(nn.Module):
    """Raw samples in, logits out; everything needed to label new data travels inside.

    ``backbone`` and ``head`` are apart because they have learning rates of their own. ``shift`` and ``scale``
    are buffers, x_normalised = (x - shift) * scale, broadcastable to one sample; they are saved with the
    weights, so that a model carries the statistics of the data it was trained on.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        input_shape: Sequence[int],
        num_clusters: int,
        shift: np.ndarray | Tensor | None = None,
        scale: np.ndarray | Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.extra_head: nn.Module | None = None
        """A second head, of training alone; see `add_extra_head`."""
        self.input_shape = tuple(int(side) for side in input_shape)
        self.num_clusters = num_clusters
        self.register_buffer("shift", torch.zeros(()) if shift is None else _statistic(shift))
        self.register_buffer("scale", torch.ones(()) if scale is None else _statistic(scale))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of uint8 images or floats (B, *input_shape); in training mode those of the extra head
        follow, (B, K + n), if there is one."""
        features = self.backbone(self.normalize(inputs))
        logits = cast("Tensor", self.head(features))
        if self.extra_head is None or not self.training:
            return logits
        return torch.cat([logits, self.extra_head(features)], 1)

    def logits_of_normalized(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of samples as `normalize` returns them."""
        return cast("Tensor", self.head(self.backbone(inputs)))

    def add_extra_head(self, num_outputs: int, layers: int = 1) -> None:
        """A second head, (B, features) -> (B, num_outputs), linear or with a hidden layer; never saved."""
        features = feature_count(self.backbone, self.input_shape)
        head: nn.Module = linear_head(features, num_outputs)
        if layers == 2:
            head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), head)
        self.extra_head = head.to(self.shift.device)

    def normalize(self, inputs: Tensor) -> Tensor:
        """What the backbone sees of raw samples: floats (B, *input_shape)."""
        return (to_float(inputs) - self.shift) * self.scale


class CentroidHead(nn.Module):
    """Logits −‖x − c_k‖² · inverse_temperature of flat features (B, D) against ``centers`` (K, D)."""

    inverse_temperature: Tensor

    def __init__(self, num_clusters: int, num_features: int, inverse_temperature: float) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_clusters, num_features) / math.sqrt(num_features))
        self.register_buffer("inverse_temperature", torch.tensor(inverse_temperature))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, K). Both sides are moved by the mean centre first: it cancels exactly, and far from
        the origin the expanded square would otherwise lose the digits that tell centres apart."""
        origin = self.centers.mean(dim=0)
        points, centers = features - origin, self.centers - origin
        squares = points.square().sum(dim=1, keepdim=True) + centers.square().sum(dim=1)
        return (2 * points @ centers.T - squares).clamp(max=0) * self.inverse_temperature


class GaussianHead(nn.Module):
    """Logits ln w_k + ln N(x; mean_k, variance_k) of flat features (B, D), without the constant of all."""

    def __init__(self, num_clusters: int, num_features: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(num_clusters, num_features) / math.sqrt(num_features))
        self.log_variances = nn.Parameter(torch.zeros(num_clusters, num_features))
        self.log_weights = nn.Parameter(torch.zeros(num_clusters))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, K). Relative to the mean of the means, for the reason given in `CentroidHead`."""
        origin = self.means.mean(dim=0)
        points, means = features - origin, self.means - origin
        precisions = (-self.log_variances).exp()
        squares = points.square() @ precisions.T - 2 * points @ (means * precisions).T
        squares = squares + (means.square() * precisions).sum(dim=1)
        return self.log_weights - 0.5 * (squares.clamp(min=0) + self.log_variances.sum(dim=1))


def linear_head(num_features: int, num_clusters: int) -> nn.Linear:
    """A linear classifier initialised as in the paper (§10.2): Kaiming weights, zero bias."""
    head = nn.Linear(num_features, num_clusters)
    nn.init.kaiming_normal_(head.weight)
    nn.init.zeros_(head.bias)
    return head


@torch.no_grad()
def feature_count(backbone: nn.Module, input_shape: Sequence[int]) -> int:
    """The width of the backbone's flat output, by running it once (in evaluation mode: no state changes)."""
    backbone.eval()
    device = next((parameter.device for parameter in backbone.parameters()), None)
    features = backbone(torch.zeros(1, *input_shape, device=device))
    backbone.train()
    assert features.ndim == 2, f"a backbone returns (B, features), not {tuple(features.shape)}"
    return int(features.shape[1])


def _statistic(values: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).clone()
