"""CIFAR-100 with its 20 coarse classes, as the clustering literature uses it."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np

from cce_ray.data.augmentation import PHOTOS, AugmentationSettings
from cce_ray.data.sources.torchvision_sets import Part, TorchvisionSettings, open_set


@final
class CIFAR100Coarse(TorchvisionSettings):
    """50,000 training and 10,000 test images of (3, 32, 32), 20 coarse classes."""

    augmentation_preset: ClassVar[AugmentationSettings] = PHOTOS

    name: Literal["cifar100_20"] = "cifar100_20"

    def read_part(self, *, train: bool) -> Part:
        """See ``TorchvisionSettings.read_part``. torchvision gives the 100 fine classes only."""
        from torchvision import datasets

        read = open_set(self, datasets.CIFAR100, train=train)
        folder = Path(read.root) / read.base_folder
        file, digest = (read.train_list if train else read.test_list)[0]
        labels = _verified_pickle(folder / file, digest)["coarse_labels"]
        names = _verified_pickle(folder / read.meta["filename"], read.meta["md5"])["coarse_label_names"]
        return read.data.transpose(0, 3, 1, 2), np.asarray(labels, np.int64), tuple(names)


def _verified_pickle(path: Path, digest: str) -> Any:
    """The content of one of CIFAR's own pickles: the very bytes that are unpickled have been verified."""
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
        raise ValueError(
            f"data.root: '{path}' is not the original file; delete it and set data.download=true"
        )
    return pickle.loads(content, encoding="latin1")
