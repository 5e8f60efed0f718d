"""Ray: the one place that starts or joins it, Ray Train around the trainer, EM as remote tasks and actors."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cce_ray.distributed.ray_train import run_on_ray

__all__ = ["run_on_ray"]

# EM's processes need neither torch nor Ray Train.
_LAZY = {"run_on_ray": "ray_train"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
