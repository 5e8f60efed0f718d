"""STL-10: 96x96 colour photographs, most of them without labels."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from cce_ray.data.augmentation import PHOTOS, AugmentationSettings
from cce_ray.data.dataset import Source
from cce_ray.data.sources.torchvision_sets import Part, TorchvisionSettings, open_set
from cce_ray.data.storage.samples import ArraySamples


@final
class STL10(TorchvisionSettings):
    """5,000 training, 8,000 test and 100,000 unlabelled images of (3, 96, 96), ten classes."""

    augmentation_preset: ClassVar[AugmentationSettings] = PHOTOS

    name: Literal["stl10"] = "stl10"
    part: Literal["train", "test", "all", "unlabeled", "train+unlabeled"] = "train"  # type: ignore[assignment]
    """Which samples to use; all is train and test, the parts with unlabeled come without labels."""

    def read_part(self, *, train: bool) -> Part:
        """See ``TorchvisionSettings.read_part``."""
        from torchvision import datasets

        read = open_set(self, datasets.STL10, split="train" if train else "test")
        return read.data, np.asarray(read.labels, np.int64), tuple(read.classes)

    def source(self) -> Source:
        """See ``TorchvisionSettings.source``."""
        if self.split == "official" or "unlabeled" not in self.part:
            return super().source()
        from torchvision import datasets

        read = open_set(self, datasets.STL10, split=self.part)
        return Source(ArraySamples(read.data), notes=("STL-10's unlabelled images: no scores",))
