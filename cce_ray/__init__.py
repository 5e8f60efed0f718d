"""Self-labelled clustering with collision cross-entropy, from three lines of Python to a Ray cluster.

    import cce_ray

    run = cce_ray.train("features", {"data.path": "features.npy", "data.num_clusters": 10})
    labels = cce_ray.predict(run.model, "more.npy")

Importing the package loads neither torch, Ray nor MLflow.
"""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.version import __version__

if TYPE_CHECKING:
    from cce_ray.api import predict, train, tune
    from cce_ray.config import RunConfig
    from cce_ray.pseudo_labels import estimate_pseudo_labels
    from cce_ray.runs import load_model
else:
    __getattr__ = lazy(
        __name__,
        {
            "api": ["predict", "train", "tune"],
            "config": ["RunConfig"],
            "pseudo_labels": ["estimate_pseudo_labels"],
            "runs": ["load_model"],
        },
    )

__all__ = [
    "RunConfig",
    "__version__",
    "estimate_pseudo_labels",
    "load_model",
    "predict",
    "train",
    "tune",
]


def __dir__() -> list[str]:
    return __all__
