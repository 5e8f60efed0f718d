"""A process that compiles a kernel and one that loads it from the cache compute the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib
import numpy as np
from cce_ray.pseudo_labels import estimate_pseudo_labels

CASES = [("cce_plus", "em", 12), ("cce_plus", "em", 100), ("cce_plus", "em_accelerated", 100),
         ("cce_plus", "exact", 30), ("cce", "pgd", 30), ("shannon", "mirror", 30)]
for objective, solver, clusters in CASES:
    probs = np.exp(2 * np.random.default_rng(0).standard_normal((500, clusters), dtype=np.float32))
    probs /= probs.sum(axis=1, keepdims=True)
    found = estimate_pseudo_labels(probs, objective=objective, solver=solver, fairness_weight=20.0,
                                   max_iterations=7, tolerance=0.0)
    print(solver, clusters, hashlib.sha256(found.labels.tobytes()).hexdigest(), found.gap.hex())
"""


@pytest.mark.slow
def test_compiled_and_cached_code_give_the_same_bits(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run() -> list[str]:
        command = [sys.executable, "-c", SCRIPT]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    compiled = run()
    assert len(compiled) == 6 and list(tmp_path.rglob("*.nbc"))
    assert run() == compiled
