"""What a step knows of its batch when it asks for pseudo-labels, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cce_ray.pseudo_labels import PseudoLabels


@dataclass(frozen=True)
class BatchProbs:
    """The predictions of one batch of B samples, and which of them are this rank's."""

    indices: Tensor
    """(B,) int64, on the CPU."""
    predicted: Tensor
    """σ, (B, K), on the device, without gradient."""
    probs: Tensor
    """The same on the CPU, complete once `settle` has returned."""
    own: slice
    """This rank's rows."""
    settle: Callable[[], None]
    """Waits for `probs`; ValueError if they are not finite."""
    known: np.ndarray | None = None
    """(B,) int64: known labels, -1 elsewhere; None: nothing is known."""


Labelled = tuple[PseudoLabels, Tensor]
"""What was estimated, and y of the rank's own rows on their device."""
