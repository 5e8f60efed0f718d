"""Ray Tune and ours against a plain loop over the same configurations.

    python tests/benchmarks/bench_tune.py FEATURES.npz [--trials 40]

The loop trains one configuration after the other in this process with its default number of threads; the
search trains the same ones (given as its starting samples, no early stopping) as flat trials of one thread,
as many at once as there are CPUs. Start-up and the last round are left out on both sides: trials a second
between the end of the first trials and the end of the last. The overhead of a trial is what it takes beyond
its training: CPUs times the time between ends, minus the seconds of training in one thread.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from cce_ray.data import load_dataset
from cce_ray.pseudo_labels.mappers import available_cores
from cce_ray.runs.listener import Listener
from cce_ray.runs.seeds import RESULT_FILE, InProcess, SeedJob
from cce_ray.tuning import Search, load_search, run_search
from cce_ray.tuning.records import trial_folder


class Clock(Listener):
    """When each trial ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def note(self, text: str) -> None:
        if ": finished at" in text:
            self.ends.append(time.perf_counter())


def samples(count: int) -> list[dict[str, Any]]:
    chance = random.Random(0)
    return [
        {
            "method.fairness_weight": 10 ** chance.uniform(0.7, 2),
            "optimizer.learning_rate": 10 ** chance.uniform(0, 1.2),
        }
        for _ in range(count)
    ]


def space(folder: Path, features: Path, count: int) -> Search:
    path = folder / "space.yaml"
    knobs = {
        "method.fairness_weight": {"low": 1.0, "high": 200.0, "log": True},
        "optimizer.learning_rate": {"low": 0.3, "high": 30.0, "log": True},
    }
    values = {"run": "features", "space": knobs, "start": samples(count), "trials": count}
    values |= {"scheduler": {"name": "none"}, "objective": "accuracy", "final": {"top": 1, "seeds": 1}}
    path.write_text(yaml.safe_dump(values))
    settings = [f"data.path={features.absolute()}", f"output_dir={folder / 'out'}", "tracking.enabled=false"]
    return load_search(str(path), settings)


def loop(search: Search, count: int, folder: Path) -> tuple[float, float]:
    """(trials a second, mean seconds of a run) of the plain loop, without the first run."""
    dataset = load_dataset(search.base.data)
    ends, seconds = [], []
    for number, sample in enumerate(search.start[:count]):
        config = search.config(sample).resolved()
        place = folder / f"loop-{number}"
        place.mkdir()
        job = SeedJob(config, dataset, place, False, None, Listener(), lambda *_: None)
        seconds.append(InProcess().train(job).seconds)
        ends.append(time.perf_counter())
    return (count - 1) / (ends[-1] - ends[0]), fmean(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    wanted = parser.parse_args()
    cores = available_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        search, clock = space(folder, wanted.features, wanted.trials), Clock()
        plain, plain_seconds = loop(search, wanted.trials, folder)
        run_search([search], listener=clock)
        inner = clock.ends[cores - 1 :]
        speed = (len(inner) - 1) / (inner[-1] - inner[0])
        files = [trial_folder(folder / "out", number) / RESULT_FILE for number in range(cores, wanted.trials)]
        own = fmean(json.loads(file.read_text())["seconds"] for file in files)
    lines = [
        "| who | trials/s | seconds of training |",
        "|---|---|---|",
        f"| a plain loop, {cores} threads | {plain:.3f} | {plain_seconds:.2f} |",
        f"| the search, {cores} trials of one thread | {speed:.3f} | {own:.2f} |",
        "",
        f"ratio {speed / plain:.2f}; overhead of a trial {cores / speed - own:.2f} s",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
