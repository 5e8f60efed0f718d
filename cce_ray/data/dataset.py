"""A data set, and what a source holds before anything is chosen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from cce_ray.data.storage.sample_ids import SampleIds
from cce_ray.data.storage.samples import Samples


@final
@dataclass(frozen=True)
class Dataset:
    """Samples, what is known of them, and which of them train and evaluate."""

    name: str
    samples: Samples
    labels: np.ndarray | None
    """(N,) int64 class ids 0..C-1, None when unknown."""
    class_names: tuple[str, ...] | None
    ids: SampleIds
    """What the samples are called."""
    train_indices: np.ndarray
    """int64, ascending; the same as ``evaluation_indices`` unless ``split`` says otherwise."""
    evaluation_indices: np.ndarray
    num_clusters: int
    notes: tuple[str, ...] = ()
    """What the user should know, one line each."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """See ``Source.reading``."""

    @property
    def kind(self) -> Literal["images", "embeddings"]:
        """By the shape of a sample."""
        return "images" if len(self.samples.shape) == 3 else "embeddings"


@final
@dataclass(frozen=True)
class Source:
    """All that a source holds, before anything is chosen of it: enough to label it with a trained model."""

    samples: Samples
    labels: np.ndarray | None = None
    """(N,) int64 class ids 0..C-1."""
    class_names: tuple[str, ...] | None = None
    ids: SampleIds | None = None
    """What the samples are called; None: by their places."""
    official_split: int | None = None
    """Where the source's own test samples begin; they end the samples."""
    notes: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this source that the data themselves decided, by key: a model remembers them, and new data
    are read with them."""
