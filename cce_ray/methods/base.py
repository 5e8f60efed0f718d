"""The whole contract of a method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from cce_ray.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from torch import Tensor

    from cce_ray.pseudo_labels import PseudoLabels, PseudoLabelSettings


class SharedBatch(Protocol):
    """A batch that several ranks share: what `Step` offers, of all of it."""

    def mean(self, rows: Tensor) -> Tensor:
        """See `Step.mean`."""

    def whole(self, rows: Tensor) -> Tensor:
        """See `Step.whole`."""

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """See `Step.normal`."""


@dataclass(frozen=True)
class Step:
    """What a loss sees of one training step: the rows (b) of this rank, of a batch of B over all ranks."""

    logits: Tensor
    """(b, K)."""
    labels: Tensor | None = None
    """Pseudo-labels y (b, K), without gradient; None for a method that estimates none."""
    augmented_logits: Tensor | None = None
    """(b, K) of an augmented copy, where `wants_augmented_view`."""
    neighbour_logits: Tensor | None = None
    """(b, K) of a neighbour of each sample, drawn anew each time, where `num_neighbours`."""
    extra_logits: Tensor | None = None
    """(b, `extra_clusters`) of the extra head, where there is one."""
    augmented_extra_logits: Tensor | None = None
    """The same of the augmented copy."""
    inputs: Callable[[], Tensor] | None = None
    """() -> (b, *shape): the samples as the network sees them, normalised; always there in training."""
    predict: Callable[[Tensor], Tensor] | None = None
    """Logits (b, K) of normalised inputs, differentiable in both; always there in training."""
    progress: float = 0.0
    """Share of all steps that are done, 0..1."""
    shared: SharedBatch | None = None
    """Of ranks that share the batch; None: this is all of it."""

    def mean(self, rows: Tensor) -> Tensor:
        """(b, ...) -> (...): the mean over the whole batch, differentiable in this rank's rows.

        For losses of a batch's means, such as H(mean σ): with it their gradients do not depend on the number
        of ranks.
        """
        return self.shared.mean(rows) if self.shared else rows.mean(0)

    def whole(self, rows: Tensor) -> Tensor:
        """(b, ...) -> (B, ...): the rows of the whole batch, differentiable in this rank's.

        For losses that compare samples with each other; every rank computes them of all samples.
        """
        return self.shared.whole(rows) if self.shared else rows

    def normal(self, like: Tensor) -> Tensor:
        """Normal random numbers in the shape of rows (b, ...), by torch's global generator of the CPU."""
        import torch

        shape = tuple(like.shape)
        return (self.shared.normal(shape) if self.shared else torch.randn(shape)).to(like.device)


class MethodSettings(Settings):
    """A clustering method: its knobs as fields, its mathematics as methods. It keeps no state.

    A method that trains a network implements `loss`, and `labels` with `scopes` if it estimates
    pseudo-labels; one that is fitted in closed form sets `required_model` and implements `fit`, and the
    training loop does the rest.
    """

    name: str

    scopes: ClassVar[frozenset[str]] = frozenset()
    """Pseudo-label scopes it supports (`pseudo_labels.scope`); empty: it estimates none."""
    objective: ClassVar[str | None] = None
    """Of `estimate_pseudo_labels`; None: it estimates none, or not by that."""
    required_model: ClassVar[str | None] = None
    """The only model it works with; None: any."""
    both_views_augmented: ClassVar[bool] = False
    """Whether the batch itself is an augmented copy too, by another draw."""
    extra_head_layers: ClassVar[int] = 1
    """Of the extra head: 1, linear; 2, a hidden layer as wide as the features before it."""
    needs_known_labels: ClassVar[bool] = False
    """Whether it learns from known labels alone (`supervision`)."""

    @property
    def objective_terms(self) -> dict[str, Any]:
        """What `estimate_pseudo_labels` must know of the method: its objective and the weight in it."""
        raise TypeError(f"method {self.name} estimates no pseudo-labels")

    @property
    def compares_views(self) -> bool:
        """Whether it is nothing without an augmented view that differs from the sample."""
        return False

    @property
    def wants_augmented_view(self) -> bool:
        """Whether `loss` wants the logits of an augmented copy of the batch."""
        return self.compares_views

    @property
    def num_neighbours(self) -> int:
        """Among how many nearest neighbours of a sample `loss` wants one; 0: it wants none."""
        return 0

    @property
    def neighbour_embedding(self) -> Path | None:
        """File of the embedding in which they are sought; None: the data's own, see `training.embedding`."""
        return None

    @property
    def extra_clusters(self) -> int:
        """Outputs of an extra head, of finer clusters or for projections, for training only; 0: none."""
        return 0

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

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Parts of the loss, scalars, already weighted: their sum is minimised."""
        raise TypeError(f"method {self.name} has no loss: it is fitted in closed form")


def labels_of(
    method: MethodSettings,
    probs: np.ndarray,
    settings: PseudoLabelSettings,
    known_labels: np.ndarray | None = None,
    prior: np.ndarray | None = None,
) -> tuple[np.ndarray, int, float]:
    """`method.labels` on one thread, as plain values that travel between processes.

    Returns y (B, K), the number of iterations and the last max |Δy|.
    """
    inline = settings.with_({"backend": "inline"})
    found = method.labels(probs, inline, known_labels, prior)  # type: ignore[arg-type]
    iterations, change = found.progress
    return found.labels, iterations, change
