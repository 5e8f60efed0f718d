"""The rooms of the package: who may import whom, and which heavy libraries stay where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cce_ray"

LEAVES = {"settings", "atomic", "tensor_file", "yaml_files", "typed_values"}
CONFIG = {
    "data",
    "models",
    "methods",
    "pseudo_labels",
    "losses",
    "tracking",
    "optimizer",
    "runtime",
    "supervision",
}
TRAINING = CONFIG | {"config", "metrics"} - {"tracking"}
RUNS = TRAINING | {"tracking", "training", "report"}
DISTRIBUTED = RUNS | {"runs"}
TUNING = DISTRIBUTED | {"distributed"}

# Every room and what it may import of this package; all may import the leaves. Imports go down only.
ROOMS: dict[str, set[str]] = {
    "settings": set(),
    "atomic": set(),
    "tensor_file": set(),
    "yaml_files": set(),
    "typed_values": {"yaml_files"},
    "losses": set(),
    "pseudo_labels": set(),
    "models": set(),
    "data": set(),
    "metrics": set(),
    "optimizer": set(),
    "supervision": set(),
    "runtime": set(),
    "tracking": {"models"},
    "methods": {"losses", "pseudo_labels"},
    "config": CONFIG,
    "report": {"config", "metrics"},
    "training": TRAINING,
    "runs": RUNS,
    "estimator": TRAINING | {"training"},
    "distributed": DISTRIBUTED,
    "tuning": TUNING,
    "experiments": TUNING | {"tuning", "estimator", "console"},
    "console": {"runs", "tuning"},
    "doctor": {"data", "distributed", "pseudo_labels", "tracking"},
    "cli": TUNING | {"tuning", "experiments", "console", "doctor"},
    "__init__": set(),
}

# Heavy libraries and the only rooms that may import them.
HEAVY = {
    "ray": {"distributed", "tuning"},
    "optuna": {"tuning"},
    "mlflow": {"tracking"},
    "matplotlib": {"report", "experiments", "tuning"},  # Optuna's plots, in tuning
    "jinja2": {"report", "experiments"},
    "typer": {"cli"},
    "rich": {"cli", "console", "doctor"},
    "numba": {"pseudo_labels"},
    "torchvision": {"models", "data"},
    "pyarrow": {"data", "runs", "distributed", "experiments"},
    "sklearn": {"data", "metrics", "methods", "report", "estimator", "experiments"},
    "scipy": {"metrics", "pseudo_labels", "experiments"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_table(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{room} stands in no row of the table"
    allowed = ROOMS[room] | LEAVES | {room, "__version__"}
    for name in imports_of(path):
        top, _, rest = name.partition(".")
        if top == "cce_ray" and rest:
            assert rest.split(".")[0] in allowed, f"{path}: {room} may not import {name}"
        assert room in HEAVY.get(top, {room}), f"{path}: {top} belongs to {sorted(HEAVY[top])}"


def test_the_table_has_no_cycle() -> None:
    remaining = {room: set(below) for room, below in ROOMS.items()}
    while remaining:
        ready = [room for room, below in remaining.items() if not below & remaining.keys()]
        assert ready, f"cycle among {sorted(remaining)}"
        for room in ready:
            del remaining[room]


def loaded_after(code: str) -> set[str]:
    probe = f"{code}\nimport sys\nprint(*[n for n in sys.modules if '.' not in n])"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import cce_ray")
    assert not loaded & {"torch", "ray", "mlflow", "numba", "pandas", "sklearn"}
    assert "cce_ray" in loaded


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['cce', '--help']\n"
        "from cce_ray.cli import main\ntry: main()\nexcept SystemExit: pass"
    )
    loaded = loaded_after(code)
    assert not loaded & {"torch", "ray", "mlflow", "numba", "pandas", "sklearn"}
    assert "typer" in loaded
