"""Tables and figures of the paper, studies beyond it, and the benchmarks that users run.

An experiment of `cce experiment` is one file in `paper` or `studies`, with a function
`run(options, listener) -> Outcome` (`experiment.py`), and a line in `registry.py`.
"""

from typing import TYPE_CHECKING

from cce_ray.experiments.registry import EXPERIMENTS, find_experiment
from cce_ray.lazy import lazy

if TYPE_CHECKING:
    from cce_ray.experiments.experiment import make_options, perform, prepare_folder
    from cce_ray.experiments.solver_race.benchmark import QUICK, Plan, run_benchmark, write_report
    from cce_ray.experiments.solver_race.tables import notes, tables
    from cce_ray.experiments.table import Table
else:
    __getattr__ = lazy(
        __name__,
        {
            "experiment": ["make_options", "perform", "prepare_folder"],
            "solver_race.benchmark": ["Plan", "QUICK", "run_benchmark", "write_report"],
            "solver_race.tables": ["notes", "tables"],
            "table": ["Table"],
        },
    )


__all__ = [
    "EXPERIMENTS",
    "QUICK",
    "Plan",
    "Table",
    "find_experiment",
    "make_options",
    "notes",
    "perform",
    "prepare_folder",
    "run_benchmark",
    "tables",
    "write_report",
]
