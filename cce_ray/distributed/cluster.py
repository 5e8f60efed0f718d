"""The one place that starts or joins Ray."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cce_ray.distributed.plan import Nodes, Resources
from cce_ray.distributed.version import code_version
from cce_ray.pseudo_labels import available_cores

CONNECT_SECONDS = 5.0
_NODE_CHECK_SECONDS = 120.0
_LAUNCHER_FILE = Path("~/ray_bootstrap_config.yaml")
"""What `ray up` leaves on the head of the cluster that it starts."""

# For this process and what it starts; the user's own values win.
ENVIRONMENT = {
    "GOMP_SPINCOUNT": "10000",  # torch's threads must not spin while others want the cores
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # a report waits for the controller's next look
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative data roots mean the same in a worker
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Below `uv run` Ray would have every worker build an environment of its own: minutes, or for ever
    # without a network. Workers have the code that check_nodes asks for.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


def address_of(address: str | None) -> str:
    """Where to go: the address given, RAY_ADDRESS, or "local": nowhere, Ray is started on this machine."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def this_machine() -> Nodes:
    """What Ray has when it is started here."""
    import torch

    return Nodes([{"CPU": float(available_cores()), "GPU": float(torch.cuda.device_count())}])


@contextmanager
def connected(address: str | None = None) -> Iterator[Nodes]:
    """Join the cluster at `address` (default: RAY_ADDRESS) or start Ray on this machine; leave it at the end.

    What was started here ends here, with all that runs on it. Raises ValueError, one line, if no cluster
    answers or it cannot be joined.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    address = address_of(address)
    # In /tmp whatever TMPDIR says: the paths of sockets below it may have no more than 107 characters.
    folder = tempfile.mkdtemp(prefix="cce_ray-", dir="/tmp") if address == "local" else None
    try:
        if folder:
            ray.init(
                address="local",
                num_cpus=available_cores(),
                include_dashboard=False,
                _temp_dir=folder,
                log_to_driver=False,
                logging_level="ERROR",
            )
        else:
            join(address)
        yield nodes_of(ray, () if folder else nodes_to_come(_LAUNCHER_FILE))
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def join(address: str) -> None:
    """Connect to a running cluster. ValueError if there is none, or one of another version."""
    import ray

    if "://" in address:
        raise ValueError(
            f"--address {address}: give the HOST:PORT of the cluster's head (or auto on one of its nodes); "
            "from outside submit the command with `ray job submit`"
        )
    if address != "auto":
        check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"--address {address}: Ray cannot join a cluster there ({reason}); see that `ray start` runs, "
            "with this Ray and Python version, and that RAY_AUTH_TOKEN is the cluster's"
        ) from None


def check_answers(address: str) -> None:
    """ValueError unless something listens at HOST:PORT. (Ray itself would try for minutes.)"""
    name, _, port = address.rpartition(":")
    if not name or not port.isdigit():
        raise ValueError(f"--address {address}: give HOST:PORT, for example 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((name, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"--address {address}: nothing answers there ({error.strerror or error}); start a cluster with "
            "`ray start --head`, or leave the address out to use this machine"
        ) from None


def nodes_of(ray: Any, to_come: Sequence[Resources] = ()) -> Nodes:
    """What the cluster's nodes have; of a launcher's cluster, what they have once all of them are started."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    growing = ray._private.state.state.get_max_resources_from_cluster_config()
    return Nodes(alive if growing else to_come or alive, growing)


def nodes_to_come(file: Path) -> list[Resources]:
    """The nodes of a launcher's cluster at its largest, the head first; none if it does not grow.

    Ray's autoscaler does not tell Ray (ray-project/ray, pull request 63012), and a cluster whose workers come
    with the work has none when the work is planned.
    """
    try:
        config = json.loads(file.expanduser().read_text(encoding="utf-8"))
        kinds, most = dict(config["available_node_types"]), int(config["max_workers"])
        head = kinds.pop(config["head_node_type"])
        workers = [kind["resources"] for kind in kinds.values() for _ in range(int(kind["max_workers"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    workers.sort(key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)), reverse=True)
    return [head["resources"], *workers[:most]] if workers[:most] else []


def _look_around() -> Callable[[list[str]], tuple[str, str, list[str]]]:
    def look_around(paths: list[str]) -> tuple[str, str, list[str]]:
        import socket
        from pathlib import Path

        try:
            from cce_ray.distributed.version import code_version

            version = code_version()
        except ImportError:
            version = "of another version or none"
        return socket.gethostname(), version, [path for path in paths if not Path(path).exists()]

    return look_around


look_around = _look_around()
"""A node's name, its code_version() and which paths it does not see. Local to a function, hence pickled by
value: the node may have another version of this package."""


def check_nodes(paths: Mapping[str, str]) -> None:
    """ValueError unless every other node of the cluster runs this code and sees the paths.

    Args:
        paths: {path: the setting that named it}.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not others:
        return
    tasks = [
        ray.remote(look_around)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote(list(paths))
        for node in others
    ]
    answered, silent = ray.wait(tasks, num_returns=len(tasks), timeout=_NODE_CHECK_SECONDS)
    if silent:
        raise ValueError(
            f"--address: a node did not answer within {_NODE_CHECK_SECONDS:g} s; see `ray status`"
        )
    for answer in answered:
        with suppress(ray.exceptions.RayError):  # a node that was lost meanwhile will not be used either
            _check_node(ray.get(answer), paths)


def _check_node(answer: tuple[str, str, list[str]], paths: Mapping[str, str]) -> None:
    """ValueError if a node runs other code than this process, or does not see one of the paths."""
    host, version, missing = answer
    if version != code_version():
        raise ValueError(
            f"runtime.workers: {host} runs cce_ray {version}, this process {code_version()}; install the "
            "same code on every node"
        )
    for path in missing:
        raise ValueError(
            f"{paths[path]}: {host} does not see {path}; put it on storage that every node mounts"
        )
