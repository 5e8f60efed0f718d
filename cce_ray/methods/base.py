"""The whole contract of a method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from cce_ray.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


class MethodSettings(Settings):
    """A clustering method: its knobs as fields, its mathematics as methods. It keeps no state.

    A method that trains a network implements `labels` and `loss`; one that is fitted in closed form sets
    `required_model` and implements `fit`, and the training loop does the rest.
    """

    name: str

    scopes: ClassVar[frozenset[str]] = frozenset()
    """Pseudo-label scopes it supports (`pseudo_labels.scope`); empty: it estimates none."""
    objective: ClassVar[str | None] = None
    """Of `estimate_pseudo_labels`; None: it estimates none, or not by that."""
    required_model: ClassVar[str | None] = None
    """The only model it works with; None: any."""

    @property
    def objective_terms(self) -> dict[str, Any]:
        """What `estimate_pseudo_labels` must know of the method: its objective and the weight in it."""
        raise TypeError(f"method {self.name} estimates no pseudo-labels")

    @property
    def wants_augmented_view(self) -> bool:
        """Whether `loss` wants the logits of an augmented copy of the batch."""
        return False

    def fit(
        self, chunks: Callable[[], Iterator[np.ndarray]], num_clusters: int, seed: int
    ) -> dict[str, torch.Tensor] | None:
        """Fit in closed form before the training loop; None (the default) for methods that train.

        `chunks()` starts a pass over the training samples as normalised float32 rows (n, D). Returns
        parameters of the model by name; the training loop then has nothing left to do.
        """
        return None

    def labels(
        self,
        probs: Tensor,
        settings: PseudoLabelSettings,
        known_labels: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> PseudoLabels:
        """Pseudo-labels y (B, K) of a batch from its predictions σ (B, K), on the CPU, without gradient.

        `known_labels` (B,) int64 fixes the labels of some samples; -1 is unknown. `prior` (K,) holds the
        wanted shares of the clusters; None: those of the settings.
        """
        raise TypeError(f"method {self.name} estimates no pseudo-labels")

    def loss(self, logits: Tensor, augmented_logits: Tensor | None, labels: Tensor) -> dict[str, Tensor]:
        """Parts of the loss, already weighted: their sum is minimised. Logits and labels are (B, K)."""
        raise TypeError(f"method {self.name} has no loss: it is fitted in closed form")


def labels_of(
    method: MethodSettings, settings: PseudoLabelSettings, probs: np.ndarray, prior: np.ndarray | None
) -> tuple[np.ndarray, int, float]:
    """`method.labels` on one thread, as plain values that travel between processes.

    Returns y (B, K), the number of iterations and the last max |Δy|.
    """
    found = method.labels(probs, settings.model_copy(update={"backend": "inline"}), prior=prior)  # type: ignore[arg-type]
    iterations, change = found.progress
    return found.labels, iterations, change
