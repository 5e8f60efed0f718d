"""A seed trained by Ray Train's workers instead of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, final

from cce_ray.config import RunConfig
from cce_ray.data import Dataset, remove_unused_copies, smallest_batch
from cce_ray.distributed.cluster import address_of, check_nodes, connected, nodes_of, this_machine
from cce_ray.distributed.mailbox import make_mailbox
from cce_ray.distributed.plan import (
    Nodes,
    check_plan,
    fair_threads,
    may_be_beside,
    must_be_beside,
    worker_resources,
)
from cce_ray.distributed.storage import RunStorage
from cce_ray.distributed.version import code_version
from cce_ray.distributed.worker import Order, train_loop
from cce_ray.files import read_record
from cce_ray.runs import RESULT_FILE, Listener, RunSummary, SeedJob, SeedResult, open_folder, run_training

_POLL_SECONDS = 0.1
_KEPT_CHECKPOINTS = 2


def run_on_ray(
    config: RunConfig,
    *,
    address: str | None = None,
    seeds: int = 1,
    resume: bool = False,
    listener: Listener | None = None,
) -> RunSummary:
    """`runs.run_training` with every seed trained by `runtime.workers` workers of a Ray cluster.

    Args:
        config: the run; `runtime.threads` 0 becomes what the cluster has for each worker.
        address: HOST:PORT of a running cluster, "auto", or None: RAY_ADDRESS, else Ray is started here for
            the length of the run.
        seeds, resume, listener: as for `run_training`.

    Raises:
        ValueError: one line, before anything is written, if the cluster cannot be joined, can never give the
            workers what they need, runs other code, or the configuration fits neither data nor folder.
    """
    if config.runtime.storage:
        RunStorage(config.runtime.storage, "").check_writable()
    if address_of(address) == "local":
        planned(config, this_machine(), resume)  # before the seconds that Ray takes to start
    with connected(address) as nodes:
        return run_training(
            planned(config, nodes, resume),
            seeds=seeds,
            resume=resume,
            listener=listener,
            runner=RayTrain(nodes),
        )


def planned(config: RunConfig, nodes: Nodes, resume: bool) -> RunConfig:
    """The run with its number of threads; ValueError if the cluster can never hold it."""
    threads = config.runtime.threads
    if not threads:
        threads = open_folder(config, True)[1].runtime.threads if resume else fair_threads(config, nodes)
    config = config.with_({"runtime.threads": threads})
    check_plan(config, nodes)
    return config


@final
class RayTrain:
    """Trains seeds by Ray Train, with checkpoints in Ray's storage."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def check(self, config: RunConfig, dataset: Dataset, folder: Path, resume: bool) -> None:
        """Whether every node runs this code and sees data and storage, and every worker has samples."""
        paths = paths_read(config, dataset)
        smallest_batch(len(dataset.train_indices), config.optimizer.batch_size, config.runtime.workers)
        if config.runtime.storage:
            RunStorage(*place_of(config, folder / f"seed_{config.runtime.seed}")).check_free(config, resume)
        with marker(config.runtime.storage or str(folder)) as marked:
            check_nodes(paths | ({marked: "runtime.storage"} if marked else {}))

    def train(self, job: SeedJob) -> SeedResult:
        """Train on the workers, and bring the results to the job's folder.

        Raises ValueError, one line, for what a worker found wrong, or if workers died too often.
        """
        import ray

        storage = RunStorage(*place_of(job.config, job.folder))
        storage.claim(job.config, job.resume)
        order = Order(
            config=job.config.to_dict(),
            dataset=ray.put(job.dataset),
            run_id=job.run_id,
            mailbox=make_mailbox(),
            beside=must_be_beside(job.config)
            or may_be_beside(job.config, self._nodes, job.dataset.num_clusters),
            judge=ray.put(job.judge) if job.judge else None,
            version=code_version(),
        )
        result = fit(job, storage, order)
        problem = result.return_value["error"]
        if problem:
            raise ValueError(problem)
        result.checkpoint.to_directory(str(job.folder))
        outcome = read_record(job.folder / RESULT_FILE, SeedResult)
        assert outcome, "the last checkpoint of a finished run holds its result"
        storage.remove()
        remove_unused_copies()  # workers are killed and remove nothing
        return outcome


def nested() -> RayTrain:
    """Train inside a task or actor of a cluster: a trial of a search, say."""
    import ray

    return RayTrain(nodes_of(ray))


def in_memory(dataset: Dataset) -> bool:
    """Whether the data themselves travel to the workers (one copy a node, in the object store); of larger
    ones only the path does."""
    return dataset.samples.array is not None


def paths_read(config: RunConfig, dataset: Dataset) -> dict[str, str]:
    """{path: setting} of the files and folders that every worker reads: what the run begins with, and the
    data unless they travel."""
    fields: dict[str, object] = {
        "model.weights": getattr(config.model, "weights", None),
        "method.embedding": config.method.neighbour_embedding,
        "supervision.labels_path": config.supervision.labels_path,
    }
    if not in_memory(dataset):
        fields |= {f"data.{name}": value for name, value in config.data}
    return {str(path): name for name, path in fields.items() if isinstance(path, Path)}


@contextmanager
def marker(place: str) -> Iterator[str | None]:
    """A file on the way to a folder of this machine, to see whether others see it too; None for a bucket."""
    if "://" in place:
        yield None
        return
    nearest = next(path for path in (Path(place), *Path(place).parents) if path.is_dir())
    with NamedTemporaryFile(prefix=".cce_ray-", dir=nearest) as file:
        yield file.name


def place_of(config: RunConfig, folder: Path) -> tuple[str, str]:
    """(storage, name) of a seed's checkpoints: in its own folder unless the run names a storage."""
    if not config.runtime.storage:
        return str(folder), "ray"
    return config.runtime.storage, f"{folder.parent.name}-{folder.name}"


def fit(job: SeedJob, storage: RunStorage, order: Order) -> Any:
    """The result of Ray Train, its workers' posts handed on meanwhile.

    Ray Train waits in a thread of its own, so that an interruption strikes here and ends all at once.
    """
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(result_of(job.config, storage, order)), daemon=True)
    thread.start()
    refusal: Exception | None = None
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        refusal = _hand_on(job, order.mailbox) or refusal
    refusal = _hand_on(job, order.mailbox) or refusal
    if refusal:
        raise refusal
    if not found or isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def result_of(config: RunConfig, storage: RunStorage, order: Order) -> Any:
    """What `TorchTrainer.fit` returns, or the error it ends with."""
    from ray.train import CheckpointConfig, FailureConfig, ScalingConfig
    from ray.train import RunConfig as TrainRun
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import LoggingConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    from cce_ray.distributed.torch_group import GroupConfig

    runtime = config.runtime
    elastic = runtime.min_workers and runtime.min_workers < runtime.workers
    trainer = TorchTrainer(
        train_loop,
        train_loop_config=vars(order),
        torch_config=GroupConfig(backend="cpu:gloo,cuda:nccl" if runtime.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(runtime.min_workers, runtime.workers) if elastic else runtime.workers,
            use_gpu=runtime.gpus_per_worker > 0,
            resources_per_worker=worker_resources(config, beside=order.beside),
        ),
        run_config=TrainRun(
            name=storage.name,
            storage_path=storage.root,
            failure_config=FailureConfig(max_failures=runtime.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        return trainer.fit()
    except TrainingFailedError as error:
        return failure(config, error)
    except BaseException as error:  # belongs to the thread that waits
        return error


def failure(config: RunConfig, error: Any) -> Exception:
    """What ended the workers for good: one line if they died, else the error itself."""
    from ray.exceptions import RayError

    causes = list(getattr(error, "worker_failures", {}).values())
    if not causes or not all(isinstance(cause, RayError) for cause in causes):
        return error
    reason = " ".join(str(causes[0]).split())[:200]
    return ValueError(
        f"runtime.max_failures: workers were lost {config.runtime.max_failures + 1} times, the last with: "
        f"{reason}; see to the nodes and go on with --resume"
    )


def _hand_on(job: SeedJob, mailbox: Any) -> Exception | None:
    """Pass the workers' posts to whoever listens. Workers that are judged wait for the answer to an epoch:
    they are told to end if the listener raises, and what it raised is returned for when they have."""
    import ray

    refusal: Exception | None = None
    for kind, content in ray.get(mailbox.drain.remote()):
        if kind == "epoch":
            try:
                job.on_epoch(*content)
            except Exception as error:
                if job.judge is None:
                    raise
                refusal = error
            mailbox.answer.remote(content[0], refusal is None)
        elif kind == "note":
            job.listener.note(*content)
        else:
            step, total, metrics = content
            job.listener.step(step, total, partial(dict, metrics))
    return refusal
