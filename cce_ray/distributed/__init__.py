"""Ray: the one place that starts or joins it, Ray Train around the trainer, EM as remote tasks and actors."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy

if TYPE_CHECKING:
    from cce_ray.distributed.cluster import address_of, check_answers, check_nodes, connected, this_machine
    from cce_ray.distributed.plan import Nodes, check_plan, worker_resources
    from cce_ray.distributed.pool import RETRIES, InTurn, Pool, Work, collect_results, pool_at, task_options
    from cce_ray.distributed.ray_train import nested, paths_read, run_on_ray
    from cce_ray.distributed.submission import submit
    from cce_ray.distributed.version import code_version
else:
    # EM's processes need neither torch nor Ray Train.
    __getattr__ = lazy(
        __name__,
        {
            "cluster": ["address_of", "check_answers", "check_nodes", "connected", "this_machine"],
            "plan": ["Nodes", "check_plan", "worker_resources"],
            "pool": ["InTurn", "Pool", "RETRIES", "Work", "collect_results", "pool_at", "task_options"],
            "ray_train": ["nested", "paths_read", "run_on_ray"],
            "submission": ["submit"],
            "version": ["code_version"],
        },
    )

__all__ = [
    "RETRIES",
    "InTurn",
    "Nodes",
    "Pool",
    "Work",
    "address_of",
    "check_answers",
    "check_nodes",
    "check_plan",
    "code_version",
    "collect_results",
    "connected",
    "nested",
    "paths_read",
    "pool_at",
    "run_on_ray",
    "submit",
    "task_options",
    "this_machine",
    "worker_resources",
]
