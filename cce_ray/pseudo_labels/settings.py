"""How pseudo-labels are estimated: the `pseudo_labels` section of a run."""

from typing import Any, Literal

from pydantic import Field

from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.settings import Settings


class PseudoLabelSettings(Settings):
    """The solver, where it runs and when it stops."""

    solver: Literal["auto", "em", "pgd", "mirror", "em_accelerated", "exact"] = "auto"
    """auto: em for cce_plus (11), pgd for cce (10), mirror for shannon (5)."""

    scope: Literal["batch"] = "batch"
    """Whose means the fairness term balances: those of the batch."""

    backend: Literal["auto", "inline", "threads"] = "auto"
    """inline: the calling thread; threads: as many as runtime.threads; auto: threads where the batch is large
    enough to gain. The labels are the same to the last bit."""

    max_iterations: int = Field(default=100, ge=1)
    """Iteration limit. Stopping early keeps labels soft: as much a hyper-parameter as the fairness weight."""

    tolerance: float = Field(default=1e-4, ge=0)
    """Stop when no label changed by more than this in an iteration."""

    gap_tolerance: float | None = Field(default=None, ge=0)
    """Stop when the objective is certified to be within this of its minimum; none: no such stop."""

    def estimate(self, probs: Any, *, objective: str, fairness_weight: float, **options: Any) -> PseudoLabels:
        """`estimate_pseudo_labels` under these settings; `options` are its prior, known_labels and init."""
        from cce_ray.pseudo_labels.estimate import estimate_pseudo_labels

        return estimate_pseudo_labels(
            probs,
            objective=objective,
            fairness_weight=fairness_weight,
            solver=self.solver,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            gap_tolerance=self.gap_tolerance,
            backend=self.backend,
            **options,
        )
