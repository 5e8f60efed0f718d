"""What an estimation returns."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, final

from cce_ray.pseudo_labels.driver import Reason


@final
class PseudoLabels:
    """Estimated pseudo-labels and how good they are.

    Attributes:
        labels: y, (M, K), rows on the simplex; an array or tensor like the predictions (float32 where those
            were of half precision).
        objective: the value of (12) (that is (11) without its constant -λ H(u)), (10) or (5) at `labels`.
        gap: a certified bound on `objective` minus its minimum. Computed from `labels` on first access, so
            that a caller who never looks (training) does not pay for it: look before changing `labels`.
        iterations: how many iterations were done.
        reason: "tolerance", "gap" or "max_iterations".
    """

    def __init__(
        self, labels: Any, objective: float, certify: Callable[[], float], iterations: int, reason: Reason
    ) -> None:
        self.labels = labels
        self.objective = objective
        self.iterations = iterations
        self.reason: Reason = reason
        self._certify = certify

    @cached_property
    def gap(self) -> float:
        """objective - minimum <= gap, by weak duality; 0 up to rounding at the optimum."""
        return self._certify()

    def __repr__(self) -> str:
        return (
            f"PseudoLabels(labels={tuple(self.labels.shape)}, objective={self.objective:.6g}, "
            f"iterations={self.iterations}, reason={self.reason!r})"
        )
