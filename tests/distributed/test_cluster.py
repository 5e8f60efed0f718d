"""Joining or starting Ray: what the driver's surroundings must not change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "{}"
