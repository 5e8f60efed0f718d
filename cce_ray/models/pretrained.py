"""torchvision's classification networks without their classifier: raw images in, features out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from cce_ray.models.classifier import feature_count, to_float
from cce_ray.models.weight_files import default_file, fingerprint, load_weights, read_weights

CLASSES = 1000
"""Of ImageNet: by their number the last layer is known, whatever a family calls it."""
_ODD_ONES = ("googlenet", "inception_v3")
_ODD_OPTIONS = {"init_weights": False, "aux_logits": False, "transform_input": True}
"""Theirs: a quick start, no classifiers for training only, the normalisation that their weights want."""


@final
class Pretrained(nn.Module):
    """Resizes raw images, normalises them as the network's pre-training did, and runs it.

    The shorter side becomes `image_size`, bicubic, and the centre is taken: small pictures keep their edges,
    which torchvision's evaluation crops.

    ``network`` takes (B, 3, image_size, image_size) and returns (B, num_features).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        image_size: int,
        num_features: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size
        self.num_features = num_features
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) of images (B, 1 or 3, H, W), uint8 or floats in [0, 1], of any size."""
        return cast("Tensor", self.network((self.fitted(images) - self.mean) / self.std))

    def fitted(self, images: Tensor) -> Tensor:
        """Three channels in [0, 1]; the shorter side resized (bicubic, antialiased), the centre cropped."""
        values, side = to_float(images).expand(-1, 3, -1, -1), self.image_size
        factor = side / min(values.shape[2:])
        height, width = (max(side, round(length * factor)) for length in values.shape[2:])
        if (height, width) != tuple(values.shape[2:]):
            values = functional.interpolate(values, (height, width), mode="bicubic", antialias=True)
            values = values.clamp(0, 1)
        top, left = (height - side) // 2, (width - side) // 2
        return values[:, :, top : top + side, left : left + side]


def backbone_names() -> list[str]:
    """The networks that ``load_pretrained`` knows: all that torchvision has for classification."""
    return list(models.list_models(module=models))


def load_pretrained(
    name: str, weights: str = "default", image_size: int | None = None
) -> tuple[Pretrained, str]:
    """A network in evaluation mode on the CPU, and the weights it has in words.

    Args:
        name: of ``backbone_names``.
        weights: "default" (torchvision's, downloaded), "random" (seed 0), or the path of a file.
        image_size: side of the images in front of the network; None: that of torchvision's weights.

    Raises:
        ValueError: an unknown name, weights that are missing, damaged or of another network, a download that
            fails, a size the network does not take.
    """
    if name not in backbone_names():
        raise ValueError(f"--backbone: torchvision has no '{name}'; {_nearest(name)}")
    usual = models.get_model_weights(name).DEFAULT
    transforms = usual.transforms()
    path = None
    if weights != "random":
        path = default_file(usual) if weights == "default" else Path(weights).expanduser()
    state = read_weights(path) if path else {}
    size = image_size or int(transforms.crop_size[0])
    with _sizes_refused(name, size):
        network, head = _headless(name, size)
        width = feature_count(network, (3, size, size))
    if path:
        load_weights(network, state, name=name, head=head, path=path)
    module = Pretrained(
        network, image_size=size, num_features=width, mean=transforms.mean, std=transforms.std
    )
    return module.eval(), fingerprint(path) if path else "random"


def _headless(name: str, image_size: int) -> tuple[nn.Module, str]:
    """The network, its last layer gone, and the name of its child that held this layer."""
    options: dict[str, Any] = dict(_ODD_OPTIONS) if name in _ODD_ONES else {}
    if name.startswith("vit_"):
        options["image_size"] = image_size  # the positions that it learns are counted
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.get_model(name, weights=None, **options)
    place = [
        key
        for key, layer in network.named_modules()
        if CLASSES in (getattr(layer, "out_features", 0), getattr(layer, "out_channels", 0))
    ][-1]
    network.set_submodule(place, nn.Identity())
    return network, place.partition(".")[0]


@contextmanager
def _sizes_refused(name: str, image_size: int) -> Iterator[None]:
    """What a network says of images it cannot take, in one line (ValueError)."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ValueError(
            f"--image-size: {name} takes no images of {image_size}x{image_size} ({reason}); choose another "
            "size, or leave it out"
        ) from error


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), backbone_names(), n=3)
    if close:
        return f"did you mean {', '.join(close)}?"
    return "use e.g. resnet50, vit_b_16 or convnext_tiny, or a model.pt that 'cce train' wrote"
