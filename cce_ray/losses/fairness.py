"""Fairness: how far the mean pseudo-label ȳ is from the prior u. Both are (K,) vectors of the simplex."""

import torch

from cce_ray.losses.precision import floored_log, widened


def kl_to_prior(mean_labels: torch.Tensor, prior: torch.Tensor | None = None) -> torch.Tensor:
    """KL(ȳ‖u) of (10) and (5), a scalar; ``prior`` None means uniform. Bounded by ln K for a uniform prior.

    A class of prior 0 that ȳ uses costs its share times 87 (float32) instead of infinity.
    """
    mean_labels, prior = _with_prior(mean_labels, prior)
    return (mean_labels * (floored_log(mean_labels) - floored_log(prior))).sum(-1)


def kl_from_prior(mean_labels: torch.Tensor, prior: torch.Tensor | None = None) -> torch.Tensor:
    """KL(u‖ȳ) of (11), a scalar; ``prior`` None means uniform. Unlimited as a wanted class loses its points.

    A wanted class without any mass costs its share times 87 (float32), without a gradient; classes of prior 0
    cost nothing.
    """
    mean_labels, prior = _with_prior(mean_labels, prior)
    return (prior * (floored_log(prior) - floored_log(mean_labels))).sum(-1)


def _with_prior(mean_labels: torch.Tensor, prior: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    if prior is None:
        prior = torch.full_like(
            mean_labels,
            1.0 / mean_labels.shape[-1],
            dtype=torch.promote_types(mean_labels.dtype, torch.float32),
        )
    return widened(mean_labels, prior)
