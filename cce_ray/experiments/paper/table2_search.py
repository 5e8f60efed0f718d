"""The searches behind Table 2: `python -m cce_ray.experiments.paper.table2_search --data FOLDER [METHOD...]`

Every method has the same budget on each data set; the best settings are kept in `searched/table2`. What is
there already is not searched again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from cce_ray.cli.console import RichListener
from cce_ray.experiments.grid.cell import SEARCHED
from cce_ray.files import read_yaml, write_text
from cce_ray.tuning import SEARCH_FILE, Options, load_search, run_search

TRIALS = 40
COLUMNS = ("cifar10", "mnist")
WEIGHT = {"low": 1.0, "high": 200.0, "log": True}
COMMON: dict[str, Any] = {
    "optimizer.learning_rate": {"low": 0.03, "high": 30.0, "log": True},
    "optimizer.weight_decay": {"low": 0.0001, "high": 0.2, "log": True},
    "optimizer.batch_size": {"choices": [125, 250, 500, 1000]},
}
_OWN: dict[str, dict[str, Any]] = {
    "mi": {},
    "migd": {"method.balance_weight": {"low": 0.5, "high": 10.0, "log": True}},
    "sela": {"method.sharpness": {"low": 2.0, "high": 50.0, "log": True}},
    "miadm": {"method.fairness_weight": WEIGHT},
    "shannon": {"method.fairness_weight": WEIGHT},
    "imsat": {
        "method.information_weight": {"low": 0.05, "high": 10.0, "log": True},
        "method.balance_weight": {"low": 0.5, "high": 10.0, "log": True},
        "method.radius": {"low": 0.02, "high": 1.0, "log": True},
    },
    "scan": {
        "method.entropy_weight": {"low": 0.5, "high": 10.0, "log": True},
        "method.neighbours": {"low": 5, "high": 100, "log": True},
    },
    "cce": {
        "method.fairness_weight": WEIGHT,
        "pseudo_labels.max_iterations": {"low": 5, "high": 200, "log": True},
    },
    "cce_plus": {
        "method.fairness_weight": WEIGHT,
        "pseudo_labels.gap_tolerance": {"low": 0.0005, "high": 0.1, "log": True},
    },
}
"""{method: its own knobs}; the other settings are those of the built-in run `features`."""
START = {"optimizer.learning_rate": 6.5, "optimizer.weight_decay": 0.05, "optimizer.batch_size": 250}
"""Where every search begins: the settings of `features`, with the method's own defaults."""
FIXED: dict[str, dict[str, Any]] = {
    "shannon": {"pseudo_labels.max_iterations": 200, "pseudo_labels.tolerance": 1e-4},
    "cce": {
        "pseudo_labels.gap_tolerance": None,
        "pseudo_labels.tolerance": 1e-4,
        "pseudo_labels.max_iterations": 50,
    },
}
"""Where the stopping rule of `features`, a certified gap of 1e-2, is not the method's own."""


def _space_file(method: str, column: str, folder: Path) -> Path:
    """The search of one cell as a space file, as `cce tune` takes it."""
    values = {
        "name": f"table2-{method}-{column}",
        "run": "features",
        "set": {"method": method, "tracking.register_model": None, "tracking.enabled": False}
        | FIXED.get(method, {}),
        "space": COMMON | _OWN[method],
        "start": [START],
        "trials": TRIALS,
        "objective": "accuracy",
        "scheduler": {"name": "asha", "grace_epochs": 4, "reduction_factor": 3},
        "final": {"top": 3, "seeds": 3},
    }
    file = folder / f"{method}-{column}.yaml"
    write_text(file, json.dumps(values, indent=1))
    return file


def search(method: str, column: str, data: Path, folder: Path) -> None:
    """Search one cell and keep its best run file."""
    place = folder / f"{method}-{column}"
    features = data / f"{column}_test_resnet50.npz"
    changes = {"data.path": str(features), "output_dir": str(place)}
    with RichListener() as listener:
        wanted = load_search(str(_space_file(method, column, folder)), changes)
        summary = run_search([wanted], Options(resume=(place / SEARCH_FILE).exists()), listener)[0]
    keep(summary.best, SEARCHED / "table2" / f"{method}-{column}.yaml", features.name)


def keep(best: str, target: Path, features: str) -> None:
    """The run file without what belongs to this machine: paths, threads, the tracker."""
    values = read_yaml(Path(best))
    values["data"] = {"name": "arrays", "path": features}
    values = {key: value for key, value in values.items() if key not in ("runtime", "tracking", "output_dir")}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, yaml.safe_dump(values, sort_keys=False))


def main() -> None:
    """Search what is missing."""
    module = "cce_ray.experiments.paper.table2_search"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=__doc__)
    parser.add_argument(
        "methods", nargs="*", metavar="METHOD", help=f"of {', '.join(_OWN)}; all if none is given"
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of NAME_test_resnet50.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("cce_output/table2_search"))
    wanted = parser.parse_args()
    wanted.output.mkdir(parents=True, exist_ok=True)
    for method in wanted.methods or _OWN:
        for column in COLUMNS:
            if (SEARCHED / "table2" / f"{method}-{column}.yaml").exists():
                continue
            started = time.perf_counter()
            search(method, column, wanted.data.absolute(), wanted.output.absolute())
            sys.stderr.write(f"{method} {column}: {time.perf_counter() - started:.0f} s\n")


if __name__ == "__main__":
    main()
