"""Known labels of a few samples: which, and how much they count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from cce_ray.settings import Settings


class SupervisionSettings(Settings):
    """Semi-supervised clustering: some samples' classes are known. Cluster k then is class k."""

    ratio: float = Field(default=0.0, ge=0, le=1)
    """Share of the training samples whose labels, from the data set, are told, class by class; 0: none."""
    labels_path: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] | None = None
    """Or a .csv of known labels with the columns id (as in clusters.csv; or file) and label
    (a class name of the data set, or a cluster's number)."""
    weight: float = Field(default=2.0, gt=0)
    """Weight of the cross-entropy of known labels; the paper's is 2."""
    batch_size: int = Field(default=32, ge=1)
    """Samples with known labels that join every step, drawn anew each time."""
    seed: int | None = Field(default=None, ge=0)
    """Which samples `ratio` draws; empty: `runtime.seed`."""

    @property
    def enabled(self) -> bool:
        """Whether anything is told."""
        return self.ratio > 0 or self.labels_path is not None
