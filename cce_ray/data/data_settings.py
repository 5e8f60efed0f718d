"""What every source of data can be told."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from cce_ray.data.augmentation import AugmentationSettings
from cce_ray.data.dataset import Source
from cce_ray.settings import Settings

# Absolute from the start: a worker of a search runs in a folder of its own.
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class DataSettings(Settings):
    """Abstract. One concrete class per source, named by its ``name`` field."""

    augmentation_preset: ClassVar[AugmentationSettings]
    """The strengths usual for such data; all resolved."""
    has_official_split: ClassVar[bool] = False
    """Whether ``split=official`` exists."""

    name: str
    num_clusters: Annotated[int, Field(ge=2)] | None = None
    """K; None: the number of classes, where labels exist."""
    split: Literal["same", "official"] | Annotated[float, Field(gt=0, lt=1)] = "same"
    """Train and evaluate on the same samples (as the paper does), on the source's own parts, or hold out a
    share of the samples for evaluation."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the held-out share, of ``limit`` and of ``imbalance``."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """Use only so many samples, chosen at random (of each part with split=official)."""
    imbalance: Annotated[float, Field(ge=1)] = 1.0
    """Of labelled data (after ``limit``) take classes of exponentially falling sizes, the first so many times
    as large as the last; 1: as they are."""
    memory_limit_gib: Annotated[float, Field(ge=0)] = 4.0
    """Decoded data up to this size are kept in memory; larger ones stay on disk."""
    standardize: bool = True
    """Embeddings: z-score per dimension times norm/sqrt(D), which changes what a linear layer can learn."""
    norm: Annotated[float, Field(gt=0)] = 10.0
    """Root mean square norm of standardised embeddings."""

    @property
    def memory_limit(self) -> int:
        """``memory_limit_gib`` in bytes."""
        return int(self.memory_limit_gib * 2**30)

    @abstractmethod
    def source(self) -> Source:
        """All samples there are and what is known of them; asks for no number of clusters.

        Raises ValueError, one line with the remedy, when the data are missing or unfit.
        """

    def chosen_rows(self, count: int) -> np.ndarray:
        """The rows that ``limit`` leaves of ``count``: all, or a seeded choice, ascending; int64."""
        if self.limit is None or self.limit >= count:
            return np.arange(count)
        generator = np.random.default_rng(self.split_seed)
        return np.sort(generator.choice(count, size=self.limit, replace=False))
