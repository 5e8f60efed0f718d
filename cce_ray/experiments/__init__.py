"""Tables and figures of the paper, studies beyond it, and the benchmarks that users run.

An experiment of `cce experiment` is one file in `paper` or `studies`, with a function
`run(options, listener) -> Outcome` (`experiment.py`), and a line in `registry.py`.
"""

from cce_ray.experiments.registry import EXPERIMENTS, find_experiment

__all__ = ["EXPERIMENTS", "find_experiment"]
