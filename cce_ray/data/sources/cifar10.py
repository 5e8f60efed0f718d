"""CIFAR-10: 32x32 colour photographs."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from cce_ray.data.augmentation import PHOTOS, AugmentationSettings
from cce_ray.data.sources.torchvision_sets import Part, TorchvisionSettings, open_set


@final
class CIFAR10(TorchvisionSettings):
    """50,000 training and 10,000 test images of (3, 32, 32), ten classes."""

    augmentation_preset: ClassVar[AugmentationSettings] = PHOTOS

    name: Literal["cifar10"] = "cifar10"

    def read_part(self, *, train: bool) -> Part:
        """See ``TorchvisionSettings.read_part``."""
        from torchvision import datasets

        read = open_set(self, datasets.CIFAR10, train=train)
        return read.data.transpose(0, 3, 1, 2), np.asarray(read.targets, np.int64), tuple(read.classes)
