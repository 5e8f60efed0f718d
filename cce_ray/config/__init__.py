"""The configuration of a run: its sections, how it is read, and what is said when it is wrong."""

from cce_ray.config.loading import Overrides, assignments_of, load_config, parse_assignment
from cce_ray.config.messages import known_keys
from cce_ray.config.nested import REGISTRIES, assign, flatten, is_name
from cce_ray.config.optimizer import OptimizerSettings
from cce_ray.config.run import RunConfig
from cce_ray.config.runtime import RuntimeSettings
from cce_ray.config.supervision import SupervisionSettings

__all__ = [
    "REGISTRIES",
    "OptimizerSettings",
    "Overrides",
    "RunConfig",
    "RuntimeSettings",
    "SupervisionSettings",
    "assign",
    "assignments_of",
    "flatten",
    "is_name",
    "known_keys",
    "load_config",
    "parse_assignment",
]
