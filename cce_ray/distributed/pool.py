"""Independent runs: one after the other in this process, or at once on a Ray cluster.

Also the loop that waits for Ray tasks, which searches use too: `collect_results`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

from cce_ray.runs import Listener

if TYPE_CHECKING:
    from cce_ray.config import RuntimeSettings
    from cce_ray.distributed.plan import Nodes

Result = TypeVar("Result")
Key = TypeVar("Key")
_LOOK_SECONDS = 1.0
"""The longest that an interruption waits to be noticed."""
_CANCELLATIONS = 30
"""How often tasks are cancelled that do not end within `_LOOK_SECONDS`."""
RETRIES = 3
"""How often a run or a trial is started again that is lost with its process or node."""


@final
@dataclass(frozen=True)
class Work(Generic[Result]):
    """One run."""

    do: Callable[[Listener], Result]
    """Trains, or finds it done in its folder. Travels to the cluster's nodes, as its result does back."""
    runtime: RuntimeSettings
    """Of the run: what it reserves."""


class Pool(ABC):
    """What trains runs that do not need each other."""

    threads: int
    """Of a run that does not say and has not begun; 0: all that this machine has."""
    told: str = ""
    """Markdown for the page, if there is more to be said than what it says of the machine."""

    @property
    @abstractmethod
    def has_gpus(self) -> bool:
        """Whether its runs find a GPU."""

    @abstractmethod
    def results(self, works: Sequence[Work[Result]], listener: Listener) -> Iterator[tuple[int, Result]]:
        """(place in `works`, result) of every work, as they end. Raises what a work raises."""


@final
class InTurn(Pool):
    """In this process, in order."""

    threads = 0

    @property
    def has_gpus(self) -> bool:
        """Of this machine."""
        import torch

        return torch.cuda.is_available()

    def results(self, works: Sequence[Work[Result]], listener: Listener) -> Iterator[tuple[int, Result]]:
        """See `Pool`."""
        for place, work in enumerate(works):
            yield place, work.do(listener)


@final
@dataclass
class OnRay(Pool):
    """As tasks of a Ray cluster, as many at once as it has CPUs (or GPUs) for. A task that is lost with its
    process or node is started again, and goes on from its checkpoint."""

    nodes: Nodes
    threads: int = field(init=False)
    told: str = field(init=False)

    def __post_init__(self) -> None:
        shares = [node["CPU"] // node["GPU"] for node in self.nodes.each if node.get("GPU")]
        self.threads = max(1, int(min(shares, default=1)))
        self.told = f"The runs were tasks of a Ray cluster: {self.nodes.describe()}."

    @property
    def has_gpus(self) -> bool:
        """Of any node."""
        return self.nodes.total("GPU") > 0

    def results(self, works: Sequence[Work[Result]], listener: Listener) -> Iterator[tuple[int, Result]]:
        """See `Pool`. ValueError, one line, before anything is run if the cluster can never hold one of the
        works, and when one is lost again and again."""
        import ray

        reserved = [self.reserved(work.runtime) for work in works]
        task = ray.remote(_done_there)
        tasks = (
            (task.options(**task_options(needs)).remote(work.do), place)
            for place, (work, needs) in enumerate(zip(works, reserved, strict=True))
        )
        remedy = "give the same command again: it goes on"
        yield from collect_results(tasks, lambda place: "--address: a run", remedy)

    def reserved(self, runtime: RuntimeSettings) -> dict[str, float]:
        """The CPUs and the GPU of a run."""
        needs = {"CPU": float(runtime.threads or self.threads)}
        if runtime.device != "cpu" and self.has_gpus:
            needs["GPU"] = 1.0
        if not self.nodes.fitting(needs):
            wanted = " and ".join(f"{value:g} {name}" for name, value in needs.items())
            raise ValueError(
                f"--address: a run needs {wanted}, and no node has that (the cluster has "
                f"{self.nodes.describe()}); use a larger node"
            )
        return needs


def _done_there(do: Callable[[Listener], Any]) -> Any:
    """A task: nobody listens on a cluster's node, what is to be told travels in the result."""
    return do(Listener())


def task_options(needs: Mapping[str, float]) -> dict[str, Any]:
    """Ray's options for a task whose result `collect_results` waits for: it reserves `needs` (CPU, GPU)."""
    return {"num_cpus": needs.get("CPU", 0), "num_gpus": needs.get("GPU", 0), "max_retries": RETRIES}


def collect_results(
    tasks: Iterable[tuple[Any, Key]], describe: Callable[[Key], str], remedy: str
) -> Iterator[tuple[Key, Any]]:
    """Start Ray tasks, and yield (key, result) of every one as it finishes.

    No task outlives the iteration: whatever ends it early (an error, an interruption, the end of the loop
    around it), all that still run or wait are cancelled.

    Args:
        tasks: (reference of the result, key) of every task, with `task_options`. The first step of the
            iteration goes through them all; a generator that starts them makes sure that none is left behind.
        describe: names the run of a key, for errors.
        remedy: what the user can do about a run that is lost again and again, besides giving it more memory.

    Raises:
        ValueError: one line, for a run that is lost with its process or node more than `RETRIES` times.
        Exception: what a task raises.
    """
    import ray

    running: dict[Any, Key] = {}
    try:
        running.update(tasks)
        while running:
            finished, _ = ray.wait(list(running), timeout=_LOOK_SECONDS)
            for task in finished:
                key = running.pop(task)
                yield key, result_of(task, describe(key), remedy)
    finally:
        with suppress(Exception):
            _cancel(list(running))


def _cancel(tasks: list[Any]) -> None:
    """End tasks, and wait until they have ended.

    Ray drops a cancellation that reaches a process just before its task does (4 of 20 were seen to be lost
    where a task had failed and the next one took its place): so they are repeated.
    """
    import ray

    for _ in range(_CANCELLATIONS):
        if not tasks or not ray.is_initialized():  # `cancel` would start Ray
            return
        for task in tasks:
            ray.cancel(task, force=True)
        _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=_LOOK_SECONDS, fetch_local=False)


def result_of(task: Any, run: str, remedy: str) -> Any:
    """The result of a finished task; raises as `collect_results` does."""
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{run} was lost with its process {1 + RETRIES} times ({reason}); see that the nodes have memory "
            f"enough, and {remedy}"
        ) from None


@contextmanager
def pool_at(address: str | None, data: Path, work: Path) -> Iterator[Pool]:
    """The pool on the cluster at `address` (default: RAY_ADDRESS), or in this process without an address.

    Args:
        address: HOST:PORT, auto, or local: Ray on this machine for the length of the block.
        data, work: folders that every node must see.

    Raises:
        ValueError: one line, if no cluster answers, or a node runs other code or does not see a folder.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        yield InTurn()
        return
    from cce_ray.distributed.cluster import check_nodes, connected

    with connected(address) as nodes:
        work.mkdir(parents=True, exist_ok=True)
        check_nodes({str(work): "--work"} | ({str(data): "--data"} if data.is_dir() else {}))
        yield OnRay(nodes)
