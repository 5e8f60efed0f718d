"""Ray: the one place that starts or joins it, Ray Train around the trainer, EM as remote tasks and actors."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy

if TYPE_CHECKING:
    from cce_ray.distributed.ray_train import run_on_ray
else:
    # EM's processes need neither torch nor Ray Train.
    __getattr__ = lazy(__name__, {"ray_train": ["run_on_ray"]})

__all__ = ["run_on_ray"]
