"""The training loop under Ray Train against the loop in this process.

    python tests/benchmarks/bench_ray_train.py DATA_ROOT [--repetitions 3] [--limit 1500]

VGG-4 on MNIST, one thread a worker, the same batches of 250: samples a second of the training steps, in this
process, on one worker and on two; alternating, medians. Then the seconds that Ray Train takes from the call
to the first step on a Ray instance that is warm.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cce_ray.runs import Listener, load_run, run_training
from cce_ray.runs.seeds import SeedRunner


class Clock(Listener):
    """When the first step was done."""

    first: float | None = None

    def step(self, *_: Any) -> None:
        self.first = self.first or time.perf_counter()


def run(
    data: str, limit: int, workers: int, runner: SeedRunner | None, folder: Path, batch: int = 250
) -> tuple[float, float, list[float]]:
    """(samples a second, seconds to the first step, losses) of one run."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = ["data=mnist", f"data.root={data}", f"data.limit={limit}", "model=vgg4", "optimizer.epochs=2"]
    settings += [f"optimizer.batch_size={batch}", "method.augmentation_weight=1", "runtime.threads=1"]
    settings += ["tracking.enabled=false", f"runtime.workers={workers}", f"output_dir={folder}"]
    settings += ["pseudo_labels.backend=inline", "optimizer.learning_rate=0.0005"]
    config, _ = load_run(None, [*settings, "optimizer.schedule=constant", "optimizer.warmup=0"])
    clock, started = Clock(), time.perf_counter()
    summary = run_training(config, listener=clock, runner=runner)
    from cce_ray.files.records import read_record
    from cce_ray.runs.seeds import SeedResult

    result = read_record(folder / "seed_0" / "result.json", SeedResult)
    assert result
    losses = [epoch["loss/total"] for epoch in result.history]
    return summary.samples_per_second, (clock.first or started) - started, losses


def unrelated(data: str, limit: int, count: int) -> float:
    """Samples a second of `count` processes together that share nothing but the machine, each with its part
    of the samples and of a batch: more than that no distribution of the work can give."""
    command = [sys.executable, __file__, data, "--limit", str(limit // count), "--alone", str(250 // count)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return sum(float(process.communicate()[0].splitlines()[-1]) for process in processes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", type=int, help="one process, with batches of this size; prints samples/s")
    parser.add_argument("data")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1500)
    wanted = parser.parse_args()
    from cce_ray.distributed.cluster import connected
    from cce_ray.distributed.ray_train import RayTrain

    folder = Path(tempfile.mkdtemp(prefix="cce-bench-"))
    if wanted.alone:
        speed, *_ = run(wanted.data, wanted.limit, 0, None, folder / "run", wanted.alone)
        shutil.rmtree(folder)
        sys.stdout.write(f"{speed}\n")
        return
    found: dict[int, list[tuple[float, float, list[float]]]] = {0: [], 1: [], 2: []}
    with connected() as nodes:
        for _ in range(wanted.repetitions):
            for workers, results in found.items():
                runner = RayTrain(nodes) if workers else None
                results.append(run(wanted.data, wanted.limit, workers, runner, folder / "run"))
    shutil.rmtree(folder)
    bounds = {
        count: statistics.median(
            unrelated(wanted.data, wanted.limit, count) for _ in range(wanted.repetitions)
        )
        for count in (1, 2)
    }
    speed = {workers: statistics.median(one[0] for one in results) for workers, results in found.items()}
    names = {0: "this process", 1: "Ray Train, 1 worker", 2: "Ray Train, 2 workers"}
    lines = ["| where | samples/s | against this process | first step after | losses of the epochs |"]
    lines.append("|---|---|---|---|---|")
    for workers, results in found.items():
        start = statistics.median(one[1] for one in results)
        losses = ", ".join(f"{loss:.6f}" for loss in results[0][2])
        ratio = speed[workers] / speed[0]
        lines.append(f"| {names[workers]} | {speed[workers]:.1f} | {ratio:.3f} | {start:.1f} s | {losses} |")
    lines += [
        "",
        f"Two processes that share nothing but the machine: {bounds[2]:.1f} samples/s, "
        f"{bounds[2] / bounds[1]:.3f} times one ({bounds[1]:.1f})",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
