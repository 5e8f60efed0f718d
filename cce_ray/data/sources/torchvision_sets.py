"""What the data sets that come through torchvision share: where they lie and which parts they have."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cce_ray.data.data_settings import AbsolutePath, DataSettings
from cce_ray.data.dataset import Source
from cce_ray.data.storage.samples import ArraySamples

Part = tuple[np.ndarray, np.ndarray, tuple[str, ...]]
"""Images (N, C, H, W) uint8, labels (N,) int64, names of the classes."""


def data_root() -> Path:
    """The environment's ``CCE_DATA``, else the folder ``data`` below the current one."""
    return Path(os.environ.get("CCE_DATA") or "data")


class TorchvisionSettings(DataSettings):
    """Abstract. Sets with an official train and test part."""

    has_official_split: ClassVar[bool] = True

    root: AbsolutePath = Field(default_factory=data_root)
    """Folder of data sets in torchvision's layout; by default the environment's CCE_DATA, else data."""
    download: bool = False
    """Fetch the files into ``root`` when they are not there."""
    part: Literal["train", "test", "all"] = "train"
    """Which samples to use (with split=official: train on train, evaluate on test, whatever stands here)."""

    @abstractmethod
    def read_part(self, *, train: bool) -> Part:
        """One official part."""

    def source(self) -> Source:
        """The chosen part, or both, train before test. Raises ValueError when the files are missing."""
        both = self.split == "official" or self.part == "all"
        parts = [
            self.read_part(train=train) for train in (True, False) if both or train == (self.part == "train")
        ]
        images = np.concatenate([images for images, _, _ in parts]) if both else parts[0][0]
        return Source(
            ArraySamples(images),
            np.concatenate([labels for _, labels, _ in parts]),
            parts[0][2],
            official_split=len(parts[0][0]) if both else None,
        )


def open_set(settings: TorchvisionSettings, opener: Callable[..., Any], **options: Any) -> Any:
    """``opener(root, download=..., **options)`` of torchvision, failures told in one line (ValueError)."""
    try:
        return opener(settings.root, download=settings.download, **options)
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        if settings.download:
            raise ValueError(
                f"data.download: {settings.name} could not be fetched into '{settings.root}' ({reason}); "
                "check the network and the folder, or put the files there yourself"
            ) from error
        raise ValueError(
            f"data.root: {settings.name} is not in '{settings.root}', or damaged; add --set "
            "data.download=true, or set data.root (or the environment's CCE_DATA) to the folder that holds it"
        ) from error
