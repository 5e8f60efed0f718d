"""The hot loops are compiled to packed instructions: one `max` written the wrong way makes them scalar."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Compiles one kernel for one type and counts its instructions: {kernel/type: {mnemonic: count}}.
PROGRAM = """
import json, re, sys
from collections import Counter
import numpy as np
from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.kernels import em as em_kernel
from cce_ray.pseudo_labels.kernels import em_lanes as em_lanes_kernel
found = {}
for number in (np.float32, np.float64):
    for clusters, kernel in ((10, em_lanes_kernel.em_lanes), (64, em_kernel.em_blocks)):
        probs = np.full((70, clusters), 1 / clusters, number)
        estimate_pseudo_labels(probs, fairness_weight=1.0, max_iterations=1, solver="em")
        text = list(kernel.inspect_asm().values())[-1]
        name = f"{kernel.__name__}/{np.dtype(number).name}"
        found[name] = Counter(re.findall(r"^\\s+(v(?:div|fn?m(?:add|sub)\\d+)[ps][sd])\\b", text, re.M))
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 assembly")
def test_divisions_and_multiply_adds_are_packed(tmp_path: Path) -> None:
    flags = Path("/proc/cpuinfo")
    if not (flags.exists() and re.search(r"\bfma\b", flags.read_text())):
        pytest.skip("this processor has no fused multiply-add")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}  # cached code cannot be inspected
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    )
    found = json.loads(done.stdout)
    assert len(found) == 4
    for name, counts in found.items():
        kind = "ps" if name.endswith("float32") else "pd"
        divisions = sum(n for mnemonic, n in counts.items() if mnemonic == f"vdiv{kind}")
        multiply_adds = sum(
            n for mnemonic, n in counts.items() if "fm" in mnemonic and mnemonic.endswith(kind)
        )
        assert divisions >= 4 and multiply_adds >= 2, f"{name}: {counts}"
