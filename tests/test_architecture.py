"""The rooms of the package: who may import whom, and which heavy libraries stay where."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cce_ray"

LEAVES = {"version", "lazy", "settings", "files"}
SECTIONS = {"data", "models", "methods", "pseudo_labels", "losses", "tracking"}
TRAINING = SECTIONS | {"config", "metrics"} - {"tracking"}
RUNS = TRAINING | {"tracking", "training", "report"}
DISTRIBUTED = RUNS | {"runs"}
TUNING = DISTRIBUTED | {"distributed"}

# Every room and what it may import of this package; all may import the leaves. Imports go down only. A room
# within a room stands here only where it may import other things.
ROOMS: dict[str, set[str]] = {
    "version": set(),
    "lazy": set(),
    "settings": set(),
    "files": set(),
    "losses": set(),
    "pseudo_labels": set(),
    "models": set(),
    "data": set(),
    "metrics": set(),
    "tracking": {"models"},
    "methods": {"losses", "pseudo_labels"},
    "config": SECTIONS,
    "report": {"config", "metrics"},
    "training": TRAINING,
    "runs": RUNS,
    "distributed": DISTRIBUTED,
    "tuning": TUNING,
    "cli.console": {"runs", "tuning"},
    "experiments": TUNING | {"tuning", "cli.console"},
    "api": TUNING | {"tuning"},
    "doctor": {"data", "distributed", "pseudo_labels", "tracking"},
    "cli": TUNING | {"api", "tuning", "experiments", "cli.console", "doctor"},
    "__init__": {"api", "config", "pseudo_labels", "runs"},
}

# Heavy libraries and the only rooms that may import them.
HEAVY = {
    "ray": {"distributed", "tuning"},
    "optuna": {"tuning"},
    "mlflow": {"tracking"},
    "matplotlib": {"report", "experiments", "tuning"},  # Optuna's plots, in tuning
    "jinja2": {"report", "experiments"},
    "typer": {"cli"},
    "rich": {"cli", "doctor"},
    "numba": {"pseudo_labels"},
    "torchvision": {"models", "data"},
    "pyarrow": {"data", "runs", "distributed", "experiments"},
    "sklearn": {"data", "metrics", "methods", "report", "experiments"},
    "scipy": {"metrics", "pseudo_labels", "experiments"},
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The row of the table that a module, a dotted name below the package, belongs to."""
    parts = module.split(".")
    rows = [".".join(parts[:size]) for size in range(len(parts), 0, -1)]
    return next((row for row in rows if row in ROOMS), parts[0])


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
    room = room_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    assert room in ROOMS, f"{room} stands in no row of the table"
    for name in imports_of(path):
        top, _, rest = name.partition(".")
        if top == "cce_ray" and rest:
            assert room_of(rest) in ROOMS[room] | LEAVES | {room}, f"{path}: {room} may not import {name}"
        owners = HEAVY.get(top)
        assert not owners or room.split(".")[0] in owners, f"{path}: {top} belongs to {sorted(owners)}"


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """A cycle of {node: its predecessors}, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_cycle_is_found() -> None:
    assert set(cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_the_table_has_no_cycle() -> None:
    assert cycle_in(ROOMS) == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    """No cycle of files, imports inside functions and those for type checkers included."""
    files = {module_of(path): path for path in FILES}
    imported = {module: (imports_of(path) & files.keys()) - {module} for module, path in files.items()}
    assert cycle_in(imported) == []


def face_of(room: str) -> set[str]:
    """The names that a room exports: its `__all__`."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and named(node) == "__all__"]
    return set(ast.literal_eval(lists[0])) if lists else set()


def named(node: ast.Assign) -> str:
    return node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""


FACES = {path.parent.name: face_of(path.parent.name) for path in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_other_rooms_are_entered_by_their_faces(path: Path) -> None:
    """`from cce_ray.ROOM import NAME`, NAME in the room's `__all__`; the console is a room of its own."""
    own = path.relative_to(PACKAGE).parts[0]
    for name in imports_of(path):
        _, *parts = name.split(".")
        if not name.startswith("cce_ray.") or parts[0] in (own, "cli") or parts[0] not in FACES:
            continue
        assert len(parts) == 1 or (len(parts) == 2 and parts[1] in FACES[parts[0]]), f"{path}: {name}"


def test_a_lazy_name_is_no_module_of_its_room() -> None:
    """Once imported, the module would take the place of the name."""
    for room, exported in FACES.items():
        text = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8")
        lazily = set(re.findall(r'"(\w+)"', text.partition("lazy(\n")[2].partition("__all__")[0]))
        modules = {path.stem for path in (PACKAGE / room).glob("*.py")} & lazily & exported
        assert modules == set(), f"{room}: {modules}"


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    long = [str(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []


def test_the_loop_that_waits_for_ray_tasks_exists_once() -> None:
    """In pool.py; cluster.py asks every node a question, once and with a limit."""
    waiting = {path.relative_to(PACKAGE).as_posix() for path in FILES if "ray.wait(" in path.read_text()}
    assert waiting == {"distributed/pool.py", "distributed/cluster.py"}


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
