"""K-means (scikit-learn), the reference every other method is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cce_ray.methods.base import MethodSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class KMeans(MethodSettings):
    """Lloyd's algorithm on the normalised samples; mini-batches when they do not fit the memory limit.

    The fitted model is `centroids`: softmax of -‖x - c_k‖² / (2 s²), s² the pooled variance per dimension,
    so that it labels new data and gives probabilities like any other.
    """

    name: Literal["kmeans"] = "kmeans"
    restarts: int = Field(default=10, ge=1)
    """Runs from different starts, of which the best is kept (n_init)."""
    max_iterations: int = Field(default=300, ge=1)
    """Most Lloyd iterations of a run."""
    memory_limit_gib: float = Field(default=4.0, gt=0)
    """Larger training sets (as float32) are clustered by mini-batches, in one pass."""

    required_model: ClassVar[str | None] = "centroids"

    def fit(
        self, chunks: Callable[[], Iterator[np.ndarray]], num_clusters: int, seed: int
    ) -> dict[str, Tensor]:
        """Centres (K, D) and the inverse temperature 1 / (2 s²) of the model `centroids`."""
        import numpy as np
        import torch
        from sklearn.cluster import KMeans as Lloyd
        from sklearn.cluster import MiniBatchKMeans

        rows, kept, limit = [], 0, self.memory_limit_gib * 2**30
        for chunk in chunks():
            rows.append(chunk)
            kept += chunk.nbytes
            if kept > limit:
                break
        if kept <= limit:
            data = np.concatenate(rows)
            options = {"n_init": self.restarts, "max_iter": self.max_iterations, "random_state": seed}
            fitted = Lloyd(num_clusters, **options).fit(data)
            squared, count = float(fitted.inertia_), data.size
        else:
            rows.clear()
            fitted = MiniBatchKMeans(num_clusters, random_state=seed, n_init=self.restarts)
            squared, count = 0.0, 0
            for chunk in chunks():
                fitted.partial_fit(chunk)
            for chunk in chunks():
                squared -= float(fitted.score(chunk))
                count += chunk.size
        variance = max(squared / count, float(np.finfo(np.float32).tiny))
        return {
            "head.centers": torch.from_numpy(np.ascontiguousarray(fitted.cluster_centers_, np.float32)),
            "head.inverse_temperature": torch.tensor(0.5 / variance, dtype=torch.float32),
        }
