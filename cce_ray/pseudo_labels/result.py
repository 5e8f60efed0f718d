"""What an estimation returns."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, final

from cce_ray.pseudo_labels.solvers.driver import Reason


@final
class PseudoLabels:
    """Estimated pseudo-labels and how good they are.

    All but the labels is computed on first access, so that a caller who never looks (training) does not pay
    for it, nor wait for a device: look before changing `labels`.

    Attributes:
        labels: y, (M, K), rows on the simplex; an array or tensor like the predictions (float32 where those
            were of half precision).
        progress: (iterations, max |Δy| of the last one), numbers or 0-dimensional tensors on the device.
    """

    def __init__(
        self,
        labels: Any,
        value: Callable[[], float],
        certify: Callable[[], float],
        progress: tuple[Any, Any],
        reason: Callable[[], Reason],
    ) -> None:
        self.labels = labels
        self.progress = progress
        self._value, self._certify, self._reason = value, certify, reason

    @cached_property
    def objective(self) -> float:
        """The value of (12) (that is (11) without its constant -λ H(u)), (10) or (5) at `labels`."""
        return self._value()

    @cached_property
    def gap(self) -> float:
        """objective - minimum <= gap, by weak duality; 0 up to rounding at the optimum."""
        return self._certify()

    @property
    def iterations(self) -> int:
        """How many iterations were done."""
        return int(self.progress[0])

    @property
    def reason(self) -> Reason:
        """Why it stopped: "tolerance", "gap" or "max_iterations"."""
        return self._reason()

    def __repr__(self) -> str:
        return (
            f"PseudoLabels(labels={tuple(self.labels.shape)}, objective={self.objective:.6g}, "
            f"iterations={self.iterations}, reason={self.reason!r})"
        )
