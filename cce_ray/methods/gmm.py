"""A mixture of Gaussians with diagonal covariances by EM (scikit-learn), for reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, final

from pydantic import Field

from cce_ray.methods.base import MethodSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@final
class GMM(MethodSettings):
    """The mixture's likelihood on the normalised samples, started from k-means.

    The fitted model is `gaussians`, whose softmax is the posterior; it labels new data like any other. All
    samples lie in memory.
    """

    name: Literal["gmm"] = "gmm"
    restarts: int = Field(default=1, ge=1)
    """Runs from different starts, of which the likeliest is kept (n_init)."""
    max_iterations: int = Field(default=200, ge=1)
    """Most EM iterations of a run."""
    variance_floor: float = Field(default=1e-3, gt=0)
    """Added to every variance, in units of the samples' mean variance per dimension."""

    required_model: ClassVar[str | None] = "gaussians"

    def fit(
        self, chunks: Callable[[], Iterator[np.ndarray]], num_clusters: int, seed: int
    ) -> dict[str, Tensor]:
        """Means (K, D), logarithms of the variances (K, D) and of the weights (K,) of the model."""
        import numpy as np
        import torch
        from sklearn.mixture import GaussianMixture

        data = np.concatenate(list(chunks())).astype(np.float64)
        floor = self.variance_floor * max(float(data.var(0).mean()), float(np.finfo(np.float32).tiny))
        fitted = GaussianMixture(
            num_clusters,
            covariance_type="diag",
            n_init=self.restarts,
            max_iter=self.max_iterations,
            reg_covar=floor,
            random_state=seed,
        ).fit(data)
        found = {
            "head.means": fitted.means_,
            "head.log_variances": np.log(fitted.covariances_),
            "head.log_weights": np.log(np.maximum(fitted.weights_, np.finfo(np.float32).tiny)),
        }
        return {name: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for name, v in found.items()}
