"""Which resources a run reserves, and whether a cluster can ever give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cce_ray.config import RunConfig

Resources = dict[str, float]

# An iteration of EM takes about this long an entry of y, on one thread; less than this is not handed over.
SECONDS_PER_ENTRY, WORTH_SECONDS = 2.5e-9, 0.01


@dataclass(frozen=True)
class Nodes:
    """What the nodes of a cluster have in all, whether in use or not."""

    each: Sequence[Resources]
    growing: Resources | None = None
    """What all nodes together may grow to by autoscaling; None: they do not grow."""

    def total(self, resource: str) -> float:
        """Of all nodes."""
        return sum(node.get(resource, 0.0) for node in self.each)

    def fitting(self, bundle: Resources) -> int:
        """How many bundles fit on the nodes there are, or may be at most."""
        if self.growing is not None:
            return min(int(self.growing.get(name, 0.0) // amount) for name, amount in bundle.items())
        return sum(
            min(int(node.get(name, 0.0) // amount) for name, amount in bundle.items()) for node in self.each
        )

    def describe(self) -> str:
        """For a message."""
        if self.growing is not None:
            return (
                f"{self.growing.get('CPU', 0):g} CPUs and {self.growing.get('GPU', 0):g} GPUs at its largest"
            )
        nodes = "1 node" if len(self.each) == 1 else f"{len(self.each)} nodes"
        return f"{self.total('CPU'):g} CPUs and {self.total('GPU'):g} GPUs on {nodes}"


def fair_threads(config: RunConfig, nodes: Nodes) -> int:
    """Threads of a worker that leave every worker, and the EM task beside it, a CPU of its own."""
    beside = 1 if must_be_beside(config) else 0
    for threads in range(int(max((node.get("CPU", 0.0) for node in nodes.each), default=1)), 1, -1):
        if nodes.fitting({"CPU": threads + beside}) >= config.runtime.workers:
            return threads
    return 1


def must_be_beside(config: RunConfig) -> bool:
    """Whether EM runs beside the training because the run says so."""
    return config.pseudo_labels.backend == "ray" and config.pseudo_labels.scope != "dataset"


def may_be_beside(config: RunConfig, nodes: Nodes, num_clusters: int) -> bool:
    """Whether EM may run beside the training: there is EM, with work for some milliseconds, the augmented
    view to do meanwhile, and a CPU to spare for every worker."""
    chosen = config.pseudo_labels
    entries = config.optimizer.batch_size * num_clusters * chosen.max_iterations
    return (
        chosen.backend == "auto"
        and config.method.objective is not None
        and chosen.scope != "dataset"
        and config.method.wants_augmented_view
        and not config.runtime.gpus_per_worker
        and entries * SECONDS_PER_ENTRY >= WORTH_SECONDS
        and nodes.fitting(worker_resources(config, beside=True)) >= config.runtime.workers
    )


def worker_resources(config: RunConfig, *, beside: bool) -> Resources:
    """What one worker reserves: its threads, a CPU for the EM `beside` them, its share of GPUs."""
    bundle = {"CPU": float(config.runtime.threads + beside)}
    if config.runtime.gpus_per_worker:
        bundle["GPU"] = float(config.runtime.gpus_per_worker)
    return bundle


def check_plan(config: RunConfig, nodes: Nodes) -> None:
    """ValueError if the cluster can never give what the workers need, with what it has."""
    bundle = worker_resources(config, beside=must_be_beside(config))
    wanted = config.runtime.min_workers or config.runtime.workers
    possible = nodes.fitting(bundle)
    if possible >= wanted:
        return
    needs = f"{bundle['CPU']:g} CPU" + ("s" if bundle["CPU"] != 1 else "")
    if must_be_beside(config):
        needs += " (one of them for pseudo_labels.backend=ray)"
    if "GPU" in bundle:
        needs += f" and {bundle['GPU']:g} GPU" + ("s" if bundle["GPU"] != 1 else "")
    field = "runtime.workers"
    if "GPU" in bundle and nodes.fitting({"GPU": bundle["GPU"]}) < wanted:
        field = "runtime.gpus_per_worker"
    fewer = "fewer workers, fewer threads" if config.runtime.threads > 1 else "fewer workers"
    raise ValueError(
        f"{field}: {wanted} workers need {needs} each, and the cluster has {nodes.describe()}, enough for "
        f"{possible}; use {fewer} or more nodes"
    )
