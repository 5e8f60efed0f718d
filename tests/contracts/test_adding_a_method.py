"""The patch of docs/adding_a_method.md makes a method that does what every method must."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_pages_patch_makes_a_method_that_passes_the_contract_tests(tmp_path: Path) -> None:
    for name in ("cce_ray", "jobs", "search_spaces"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "contracts" / "test_methods.py", tmp_path / "tests")
    page = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    patch = page.partition("```diff\n")[2].partition("```")[0]
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, text=True, check=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests",
        "-k",
        "collision_information",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
