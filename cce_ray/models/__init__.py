"""Architectures. ``MODELS[name]`` is a settings class; its ``build`` makes a ``Classifier``."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.models.linear import Linear
from cce_ray.models.model_settings import ModelSettings
from cce_ray.models.registry import MODELS

if TYPE_CHECKING:
    from cce_ray.models.classifier import Classifier, feature_count, to_float
    from cce_ray.models.files import load_classifier, save_classifier
    from cce_ray.models.model import Labels, Model
    from cce_ray.models.pretrained import backbone_names, load_pretrained
    from cce_ray.models.synced_batch_norm import sync_batch_norms
    from cce_ray.models.weight_files import fingerprint
else:
    # These need torch, which a reader of configurations should not wait for.
    __getattr__ = lazy(
        __name__,
        {
            "classifier": ["Classifier", "feature_count", "to_float"],
            "files": ["load_classifier", "save_classifier"],
            "model": ["Labels", "Model"],
            "pretrained": ["backbone_names", "load_pretrained"],
            "synced_batch_norm": ["sync_batch_norms"],
            "weight_files": ["fingerprint"],
        },
    )

__all__ = [
    "MODELS",
    "Classifier",
    "Labels",
    "Linear",
    "Model",
    "ModelSettings",
    "backbone_names",
    "feature_count",
    "fingerprint",
    "load_classifier",
    "load_pretrained",
    "save_classifier",
    "sync_batch_norms",
    "to_float",
]
