"""Joining or starting Ray: what the driver's surroundings must not change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config

from cce_ray.distributed.cluster import nodes_to_come
from cce_ray.distributed.plan import Nodes

PRINT_ENVIRONMENT = """
from cce_ray.distributed.cluster import connected
with connected("local"):
    import ray
    print(ray.get_runtime_context().runtime_env.to_dict())
"""


@pytest.mark.ray
def test_workers_below_uv_run_use_this_environment(tmp_path: Path) -> None:
    """Ray looks for an ancestor whose command line is `uv run ...`; that of the script below is."""
    command = [sys.executable, "-c", PRINT_ENVIRONMENT]
    (tmp_path / "run").write_text(f"import subprocess\nsubprocess.run({command!r}, check=True)\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_ENABLE_UV")}
    answer = subprocess.run(
        ["uv", "run"],
        executable=sys.executable,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "{}"


def test_a_launchers_cluster_counts_the_nodes_that_are_to_come(tmp_path: Path) -> None:
    """Its workers come with the work: without this a search on a fresh cluster would be refused."""
    root, file = Path(__file__).parents[2], tmp_path / "ray_bootstrap_config.yaml"
    assert nodes_to_come(file) == []
    config = prepare_config(yaml.safe_load((root / "cluster.yaml").read_text(encoding="utf-8")))
    file.write_text(json.dumps(config))  # as `ray up` does
    nodes = Nodes(nodes_to_come(file))
    assert len(nodes.each) == 1 + config["max_workers"]
    assert nodes.fitting({"CPU": 1.0, "GPU": 1.0}) == 8
    assert nodes.fitting({"CPU": 4.0}) == 12  # eight with a GPU, and two of the four with 8 CPUs
    assert nodes.fitting({"CPU": 16.0}) == 0, "no node has as many, however far the cluster grows"

    config = prepare_config(yaml.safe_load((root / "cluster.local.yaml").read_text(encoding="utf-8")))
    file.write_text(json.dumps(config))
    assert nodes_to_come(file) == [], "machines of one's own are there, or not"
