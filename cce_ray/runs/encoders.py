"""What turns samples into features: a network of torchvision, or a model of this package before its head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from cce_ray.data import Dataset
from cce_ray.models import backbone_names, feature_count, fingerprint, load_classifier, load_pretrained
from cce_ray.runs.listener import Listener
from cce_ray.runs.new_data import check_shape
from cce_ray.runs.prediction import model_file


@final
@dataclass(frozen=True)
class Encoder:
    """A network without its classifier, on its device."""

    name: str
    """torchvision's name, or the model's place."""
    weights: str
    """Their file and the beginning of its SHA-256; or random."""
    run: Callable[[Tensor], Tensor]
    """Raw samples (B, *shape) on the device -> (B, num_features)."""
    num_features: int
    image_size: int | None = None
    """Side of the images in front of the network; None: samples are taken as they are."""
    input_shape: tuple[int, ...] | None = None
    """What samples must look like; None: images of any size."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What a model of this package says of its training."""

    def check(self, data: str, dataset: Dataset) -> None:
        """ValueError for samples, called `data` by the user, that it does not take."""
        shape = tuple(dataset.samples.shape)
        if self.input_shape is not None:
            check_shape(data, dataset, self.input_shape)
        elif dataset.kind != "images":
            raise ValueError(
                f"{data}: samples of shape {shape} are embeddings, but {self.name} takes images; cluster "
                f"them as they are: cce train features --set data.path={data}"
            )
        elif shape[0] not in (1, 3):
            raise ValueError(
                f"{data}: images of {shape[0]} channels, but {self.name} takes grey or RGB; save 1 or 3 "
                "channels, or set data.channels if another axis holds them"
            )


def open_encoder(
    backbone: str, weights: str, image_size: int | None, device: torch.device, listener: Listener
) -> Encoder:
    """The network called or stored so, in evaluation mode; see `load_pretrained` for its settings.

    Raises ValueError for an unknown name, and for models and weights that cannot be used.
    """
    stored = Path(backbone).expanduser().exists() or Path(backbone).suffix == ".pt" or ":/" in backbone
    if stored and backbone not in backbone_names():
        return _own(backbone, weights, image_size, device)
    module, origin = load_pretrained(backbone, weights, image_size)
    if origin == "random":
        listener.warn("--weights random: features of random weights are only for trying out")
    return Encoder(backbone, origin, module.to(device), module.num_features, module.image_size)


def _own(backbone: str, weights: str, image_size: int | None, device: torch.device) -> Encoder:
    """A model of this package: its features are what its head sees."""
    for option, given in (("--weights", weights != "default"), ("--image-size", image_size is not None)):
        if given:
            raise ValueError(f"{option}: the model '{backbone}' brings its own; leave {option} out")
    path = model_file(backbone)
    classifier, metadata = load_classifier(path)
    num_features = feature_count(classifier.backbone, classifier.input_shape)
    classifier.to(device).eval()
    return Encoder(
        name=backbone,
        weights=fingerprint(path),
        run=lambda inputs: classifier.backbone(classifier.normalize(inputs)),
        num_features=num_features,
        input_shape=classifier.input_shape,
        metadata=metadata,
    )
