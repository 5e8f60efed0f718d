"""MNIST: 28x28 grey digits."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from cce_ray.data.augmentation import MNIST as MNIST_AUGMENTATION
from cce_ray.data.augmentation import AugmentationSettings
from cce_ray.data.sources.torchvision_sets import Part, TorchvisionSettings, open_set


@final
class MNIST(TorchvisionSettings):
    """60,000 training and 10,000 test images of (1, 28, 28), ten classes."""

    augmentation_preset: ClassVar[AugmentationSettings] = MNIST_AUGMENTATION

    name: Literal["mnist"] = "mnist"

    def read_part(self, *, train: bool) -> Part:
        """See ``TorchvisionSettings.read_part``."""
        from torchvision import datasets

        read = open_set(self, datasets.MNIST, train=train)
        names = tuple(str(digit) for digit in range(10))
        return read.data.numpy()[:, None], read.targets.numpy().astype(np.int64), names
