"""What trials reserve, and how many of them run at once."""

from __future__ import annotations

from cce_ray.distributed import Nodes, check_plan, worker_resources
from cce_ray.tuning.search_settings import Search

_SLIVER = {"memory": 2.0**20}
"""What a trial reserves whose work is done by workers of its own: something, for Tune wants that, but no part
of a CPU, or two workers would not fit on a machine of two CPUs beside it."""


def concurrency(search: Search, nodes: Nodes) -> int:
    """How many trials run at once; ValueError if the cluster can never hold one."""
    config = search.base
    if config.runtime.workers:
        check_plan(config, nodes)
        each = worker_resources(config, beside=False)
        return max(1, nodes.fitting(each) // config.runtime.workers)
    needs = _flat_resources(search)
    most = nodes.fitting(needs)
    if not most:
        wanted = " and ".join(f"{value:g} {name}" for name, value in needs.items())
        raise ValueError(
            f"runtime.threads: a trial needs {wanted}, and no node has that (the cluster has "
            f"{nodes.describe()}); lower runtime.threads or gpus"
        )
    return most


def trial_resources(search: Search) -> dict[str, float]:
    """What Tune or a task reserves for a trial: next to nothing where its workers reserve for themselves."""
    return dict(_SLIVER) if search.base.runtime.workers else _flat_resources(search)


def _flat_resources(search: Search) -> dict[str, float]:
    """What a trial reserves that does its work itself."""
    needs = {"CPU": float(search.base.runtime.threads)}
    if search.settings.gpus:
        needs["GPU"] = search.settings.gpus
    return needs
