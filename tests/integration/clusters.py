"""Ray clusters on this machine, started however long it takes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

PATIENCE = 3600
"""Seconds for a node to be known to the others, where Ray allows it 30."""


@contextmanager
def started_cluster(**options: Any) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` whose head has two CPUs."""
    from ray.cluster_utils import Cluster

    Path("/tmp/ray").mkdir(exist_ok=True)  # where Ray notes the address, whatever its temp_dir
    folder = f"/tmp/cce_ray-test-{os.getpid()}"
    cluster = Cluster()
    try:
        add_node(cluster, num_cpus=2, temp_dir=folder, **options)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def add_node(cluster: Any, **options: Any) -> Any:
    """One more node, which the cluster knows."""
    from ray._private import services

    ask = services.get_node

    def get_node(gcs_address: str, node_id: str) -> Any:
        while True:
            try:
                return ask(gcs_address, node_id)
            except RuntimeError:  # not yet there
                time.sleep(0.1)

    with mock.patch.object(services, "get_node", get_node):
        node = cluster.add_node(wait=False, **options)
    services.wait_for_node(node.gcs_address, node.plasma_store_socket_name, PATIENCE)
    return node
