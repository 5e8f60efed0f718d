"""Architectures. ``MODELS[name]`` is a settings class; its ``build`` makes a ``Classifier``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cce_ray.models.model_settings import ModelSettings
from cce_ray.models.registry import MODELS

if TYPE_CHECKING:
    from cce_ray.models.classifier import Classifier, to_float
    from cce_ray.models.files import load_model, save_model

__all__ = ["MODELS", "Classifier", "ModelSettings", "load_model", "save_model", "to_float"]

# These need torch, which a reader of configurations should not wait for.
_LAZY = {"Classifier": "classifier", "to_float": "classifier", "load_model": "files", "save_model": "files"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
