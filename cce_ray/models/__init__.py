"""Architectures. ``MODELS[name]`` is a settings class; its ``build`` makes a ``Classifier``."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.models.linear import Linear
from cce_ray.models.model_settings import ModelSettings
from cce_ray.models.registry import MODELS

if TYPE_CHECKING:
    from cce_ray.models.classifier import Classifier, to_float
    from cce_ray.models.files import load_classifier, save_classifier
    from cce_ray.models.model import Labels, Model
else:
    # These need torch, which a reader of configurations should not wait for.
    __getattr__ = lazy(
        __name__,
        {
            "classifier": ["Classifier", "to_float"],
            "files": ["load_classifier", "save_classifier"],
            "model": ["Labels", "Model"],
        },
    )

__all__ = [
    "MODELS",
    "Classifier",
    "Labels",
    "Linear",
    "Model",
    "ModelSettings",
    "load_classifier",
    "save_classifier",
    "to_float",
]
