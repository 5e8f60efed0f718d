"""Everything a report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from cce_ray.metrics import MatchedConfusion, cluster_sizes, match_clusters, matched_confusion, used_clusters

History = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class ReportInput:
    """A finished run. N points are the evaluation samples, labelled by the model that was kept."""

    name: str
    """Name of the run."""
    method: str
    dataset: str
    config: Mapping[str, Any]
    """The resolved configuration: nested sections."""
    probs: np.ndarray
    """(N, K) predictions; a point's cluster is the arg max."""
    histories: Mapping[int, History]
    """Seed -> one mapping of metrics per epoch."""
    kept_seed: int
    """The seed whose model was kept."""
    read: Callable[[np.ndarray], np.ndarray] | None = None
    """Positions (n,) in 0..N-1 -> samples (n, C, H, W), uint8 or floats in [0, 1], or embeddings (n, D)."""
    ids: Sequence[str] | None = None
    """The name of each point; None: its position."""
    labels: np.ndarray | None = None
    """(N,) int64 classes 0..C-1, if they are known."""
    class_names: Sequence[str] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Means over the seeds of accuracy, nmi, ari."""
    scores_sd: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else belongs at the top: seconds a seed, samples per second, device, version, commit."""
    warnings: Sequence[str] = ()
    """What the reader should act on, for example a collapsed seed."""
    notes: Sequence[str] = ()
    """What the reader should know, for example skipped images."""
    commands: Sequence[tuple[str, str]] = ()
    """Next steps: (what it does, the command)."""

    def __post_init__(self) -> None:
        """Check the shapes that everything else relies on."""
        assert self.probs.ndim == 2 and len(self.probs) > 0, self.probs.shape
        assert self.labels is None or len(self.labels) == len(self.probs)
        assert self.ids is None or len(self.ids) == len(self.probs)

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.probs.shape[1]

    @cached_property
    def clusters(self) -> np.ndarray:
        """(N,) the cluster of each point."""
        return self.probs.argmax(1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(N,) the largest probability of each point."""
        return self.probs.max(1)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(K,) points in each cluster."""
        return cluster_sizes(self.clusters, self.num_clusters)

    @property
    def used(self) -> int:
        """Clusters in use."""
        return used_clusters(self.sizes)

    @cached_property
    def confusion(self) -> MatchedConfusion | None:
        """Classes against clusters, columns in the order of the matching; None without labels."""
        if self.labels is None:
            return None
        num_classes = len(self.class_names) if self.class_names else None
        return matched_confusion(self.labels, self.clusters, self.num_clusters, num_classes)

    @cached_property
    def class_of(self) -> np.ndarray | None:
        """(K,) the class each cluster is matched to, -1 for none; None without labels."""
        if self.confusion is None:
            return None
        classes = np.empty(self.num_clusters, np.int64)
        classes[self.confusion.clusters] = match_clusters(self.confusion.counts)
        return classes

    def class_name(self, label: int) -> str:
        """The name of a class, or its number."""
        return str(self.class_names[label]) if self.class_names else str(label)
