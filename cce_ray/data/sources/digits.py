"""scikit-learn's 8x8 digits: real images that come with the installation."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from cce_ray.data.augmentation import DIGITS, AugmentationSettings
from cce_ray.data.data_settings import DataSettings
from cce_ray.data.dataset import Source
from cce_ray.data.storage.samples import ArraySamples


@final
class Digits(DataSettings):
    """1,797 grey images of 8x8 pixels, ten classes."""

    augmentation_preset: ClassVar[AugmentationSettings] = DIGITS

    name: Literal["digits"] = "digits"

    def source(self) -> Source:
        """(1, 8, 8) float32 in [0, 1], and labels."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images / 16).astype(np.float32)[:, None]
        names = tuple(str(name) for name in digits.target_names)
        return Source(ArraySamples(images), digits.target.astype(np.int64), names)
