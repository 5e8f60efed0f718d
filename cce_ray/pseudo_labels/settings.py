"""How pseudo-labels are estimated: the `pseudo_labels` section of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cce_ray.pseudo_labels.choice import can_solve, choose_backend
from cce_ray.pseudo_labels.result import PseudoLabels
from cce_ray.pseudo_labels.solvers import SOLVERS
from cce_ray.pseudo_labels.solvers.abilities import Place, Task
from cce_ray.settings import Settings

if TYPE_CHECKING:
    import numpy as np

Probability = Annotated[float, Field(ge=0, le=1)]


class PseudoLabelSettings(Settings):
    """The solver, where it runs and when it stops."""

    solver: Literal["auto", "em", "em_accelerated", "exact", "pgd", "mirror"] = "auto"
    """auto: em for cce_plus (11), pgd for cce (10), mirror for shannon (5); with a gap_tolerance, the one
    that is expected to reach it first. em and em_accelerated solve (11), exact and pgd (11) and (10),
    mirror (5)."""

    scope: Literal["batch", "rank", "dataset"] = "batch"
    """Whose means the fairness term balances: those of the batch, over all workers; of a worker's part of it
    alone; or of all training samples, whose labels are then estimated once an epoch (docs/scaling.md)."""

    backend: Literal["auto", "inline", "threads", "ray", "gpu"] = "auto"
    """inline: the calling thread; threads: as many as runtime.threads; ray: remote tasks beside the training,
    for runtime.workers; all with the same labels to the last bit. gpu: EM where the network is, for cce_plus
    without gap_tolerance and prior_slack. auto: gpu where the network is on one and that can do it, else what
    is measured to be fastest."""

    max_iterations: int = Field(default=30, ge=1)
    """Iteration limit. Stopping early keeps labels soft: as much a hyper-parameter as the fairness weight.
    Networks trained from pixels want that; a linear model on features wants the minimum: there set
    gap_tolerance to 0.01 and this to 1000 (docs/stopping_rule.md)."""

    tolerance: float = Field(default=1e-4, ge=0)
    """Stop when no label changed by more than this in an iteration."""

    gap_tolerance: float | None = Field(default=None, ge=0)
    """Stop when the objective is certified to be within this of its minimum; none: no such stop."""

    prior: Literal["uniform", "estimate"] | tuple[Probability, ...] = "uniform"
    """The share of every cluster: uniform; a list of K probabilities (which samples become the first is left
    open); or estimate, for clusters of very different sizes: uniform at first, then after the predictions."""

    prior_slack: float = Field(default=0.0, ge=0)
    """A cluster's share may be anywhere within prior·(1 ± prior_slack) free of charge; 0: no slack."""

    prior_warmup: float = Field(default=0.25, ge=0, lt=1)
    """Share of all steps in which an estimated prior is still uniform: until the clusters have formed, their
    sizes say little (without it equal clusters lose most by an estimate)."""

    prior_rate: float = Field(default=0.05, gt=0, le=1)
    """How far an estimated prior moves towards the mean prediction of each batch."""

    prior_floor: float = Field(default=0.2, ge=0, lt=1)
    """Smallest share of an estimated prior, in units of 1/K, so that no cluster dies of its prior."""

    @field_validator("prior")
    @classmethod
    def _sums_to_one(cls, prior: str | tuple[float, ...]) -> str | tuple[float, ...]:
        if not isinstance(prior, str) and abs(sum(prior) - 1.0) > 1e-3:
            raise ValueError(f"the probabilities sum to {sum(prior):.6g}; give one per cluster, with sum 1")
        return prior

    @model_validator(mode="after")
    def _prior_fits(self) -> PseudoLabelSettings:
        for name in ("prior_warmup", "prior_rate", "prior_floor"):
            if self.prior != "estimate" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name}: only an estimated prior reads it; "
                    "set pseudo_labels.prior=estimate or leave it out"
                )
        able = self.solver == "auto" or SOLVERS[self.solver].abilities["host"].prior_slack
        if self.prior_slack > 0 and not able:
            raise ValueError(
                f"prior_slack: {self.prior_slack} is more than solver {self.solver} can do; "
                "set pseudo_labels.solver=auto or leave it out"
            )
        return self

    def can_solve(self, objective: str | None, place: Place, *, known_labels: bool = False) -> bool:
        """Whether labels for a method's objective can be estimated in a place under these settings."""
        task = Task(objective, self.prior_slack, self.gap_tolerance, known_labels)
        return can_solve(self.solver, task, place)

    def check_clusters(self, num_clusters: int) -> None:
        """ValueError unless a given prior has `num_clusters` entries."""
        if not isinstance(self.prior, str) and len(self.prior) != num_clusters:
            raise ValueError(
                f"pseudo_labels.prior: {len(self.prior)} probabilities for {num_clusters} clusters; give one "
                f"per cluster, or set data.num_clusters={len(self.prior)}"
            )

    @property
    def given_prior(self) -> tuple[float, ...] | None:
        """The prior as it was given; None: uniform, or to be estimated."""
        return None if isinstance(self.prior, str) else self.prior

    def first_prior(self, num_clusters: int) -> np.ndarray | None:
        """An estimated prior before the first step, (K,); None where the prior does not change."""
        import numpy as np

        return np.full(num_clusters, 1.0 / num_clusters) if self.prior == "estimate" else None

    def next_prior(self, prior: np.ndarray | None, probs: np.ndarray, progress: float) -> np.ndarray | None:
        """`first_prior` after a batch with predictions σ (B, K), when `progress` of all steps are done."""
        from cce_ray.pseudo_labels.prior import next_prior

        if prior is None or progress < self.prior_warmup:
            return prior
        return next_prior(prior, probs, rate=self.prior_rate, floor=self.prior_floor)

    def on_device(self, probs: Any, objective: str | None) -> bool:
        """Whether labels for these predictions are estimated on their device, a GPU, and not on the host."""
        task = Task(objective, self.prior_slack, self.gap_tolerance)
        return choose_backend(self.backend, probs, self.solver, task) == "gpu"

    def estimate(self, probs: Any, *, objective: str, fairness_weight: float, **options: Any) -> PseudoLabels:
        """`estimate_pseudo_labels` under these settings; `options` are its prior, known_labels and init.

        Without a `prior` it is the one given here; one to be estimated starts uniform.
        """
        from cce_ray.pseudo_labels.estimate import estimate_pseudo_labels

        if options.get("prior") is None:
            options["prior"] = self.given_prior
        return estimate_pseudo_labels(
            probs,
            objective=objective,
            fairness_weight=fairness_weight,
            solver=self.solver,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            gap_tolerance=self.gap_tolerance,
            prior_slack=self.prior_slack,
            backend="auto" if self.backend == "ray" else self.backend,  # ray is the training loop's business
            **options,
        )
