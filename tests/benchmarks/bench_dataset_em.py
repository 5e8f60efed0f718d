"""Dataset-scope EM on Ray actors against the two-thread kernel in one process: time, memory, equal bits.

    python tests/benchmarks/bench_dataset_em.py [--points 2000000] [--clusters 100] [--iterations 20]

Repetitions alternate; figures are medians. Memory is the peak resident size (VmHWM) of every process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

GROUPS_A_PIECE = 8
WEIGHT = 20.0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def predictions(number: int, rows: int, clusters: int) -> np.ndarray:
    """Softmax of seeded normals: piece `number`."""
    random = np.random.default_rng([7, number])
    probs = np.exp(2 * random.standard_normal((rows, clusters), dtype=np.float32))
    normalised: np.ndarray = probs / probs.sum(axis=1, keepdims=True)
    return normalised


def peak(pid: int) -> float:
    """VmHWM in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return 0.0


def digest(parts: Any) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(np.ascontiguousarray(part))
    return total.hexdigest()[:16]


def timed(rows: Any, points: int, clusters: int, iterations: int) -> float:
    """Seconds of the iterations on rows that are at their start."""
    from cce_ray.pseudo_labels.solvers.driver import Limits
    from cce_ray.pseudo_labels.solvers.spread import estimate_spread

    started = time.perf_counter()
    estimate_spread(
        rows,
        num_points=points,
        prior=np.full(clusters, 1 / clusters),
        fairness_weight=WEIGHT,
        prior_slack=0.0,
        limits=Limits(iterations, 0.0, None),
    )
    return time.perf_counter() - started


def in_process(pieces: list[Any], iterations: int) -> tuple[float, float, str]:
    """(seconds of the iterations, of all from σ in memory to y, digest of y), with two threads."""
    import ray

    from cce_ray.pseudo_labels.checks import start_rows
    from cce_ray.pseudo_labels.mappers import Threads
    from cce_ray.pseudo_labels.problem import group_blocks
    from cce_ray.pseudo_labels.solvers.em_rows import EMRows

    probs = np.concatenate(ray.get(pieces))
    started = time.perf_counter()
    labels = start_rows(probs, 0)
    rows = EMRows(probs, labels, np.full(len(probs), -1), WEIGHT, group_blocks(len(probs)), Threads())
    seconds = timed(rows, *probs.shape, iterations)
    total = time.perf_counter() - started
    return seconds, total, digest([labels])


def on_actors(
    pieces: list[Any], rows: list[int], clusters: int, workers: int, iterations: int
) -> tuple[float, float, str, dict[str, float]]:
    """(seconds of the iterations, of all from σ to y in the object store, processes that start and end
    included, digest of y, peak MB of the holders and of this process)."""
    from cce_ray.distributed.em.rows import HeldByActors, Piece, RayRows

    starts = [0, *accumulate(rows)]
    described = [Piece(*piece) for piece in zip(pieces, starts[:-1], rows, strict=True)]
    started = time.perf_counter()
    with RayRows(described, num_points=sum(rows), fairness_weight=WEIGHT, workers=workers) as actors:
        seconds = timed(HeldByActors(actors), sum(rows), clusters, iterations)
        labels = actors.labels()
        total = time.perf_counter() - started
        memory = {f"holder {number}": peak(pid) for number, (pid, _) in enumerate(actors.processes())}
        memory["driver"] = peak(os.getpid())
    return seconds, total, fetched(labels), memory


def fetched(references: list[Any]) -> str:
    """Digest of y, one piece in memory at a time."""
    import ray

    return digest(ray.get(reference) for reference in references)


def ray_pids() -> dict[str, int]:
    """The raylet's process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")[0]
        except OSError:
            continue
        if command.endswith(b"/raylet"):
            found["raylet"] = int(folder.name)
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    import ray

    from cce_ray.distributed.em.holder import load_kernels
    from cce_ray.pseudo_labels.problem import group_rows

    wanted = parsed()
    points, clusters = wanted.points, wanted.clusters
    folder = f"/tmp/cce_bench_{os.getpid()}"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _temp_dir=folder,
        log_to_driver=False,
        object_store_memory=int(3.5 * points * clusters * 4),
        logging_level="ERROR",
    )
    step = GROUPS_A_PIECE * group_rows(points)
    rows = [min(step, points - first) for first in range(0, points, step)]
    make = ray.remote(predictions)  # in other processes, so that this one never holds what is not its share
    pieces = [make.remote(number, count, clusters) for number, count in enumerate(rows)]
    ray.wait(pieces, num_returns=len(pieces), fetch_local=False)
    load_kernels(predictions(0, 1, clusters), WEIGHT)
    found: dict[str, list[float]] = {"actors": [], "process": [], "actors, all": [], "process, all": []}
    digests: dict[str, str] = {}
    memory: dict[str, float] = {}
    for repetition in range(wanted.repetitions):
        seconds, total, digests["2 workers"], held = on_actors(pieces, rows, clusters, 2, wanted.iterations)
        found["actors"].append(seconds)
        found["actors, all"].append(total)
        if repetition == 0:  # later this process has held everything, for the comparison
            memory = held | {name: peak(pid) for name, pid in ray_pids().items()}
        seconds, total, digests["in process"] = in_process(pieces, wanted.iterations)
        found["process"].append(seconds)
        found["process, all"].append(total)
    for workers in (1, 3, 4):
        digests[f"{workers} workers"] = on_actors(pieces, rows, clusters, workers, wanted.iterations)[2]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    report(wanted, found, digests, memory)


def report(
    wanted: argparse.Namespace,
    found: dict[str, list[float]],
    digests: dict[str, str],
    memory: dict[str, float],
) -> None:
    """The figures as Markdown and as one line of JSON."""
    times = {name: statistics.median(seconds) for name, seconds in found.items()}
    share = wanted.points * wanted.clusters * 4 * 2 / 2 / 1e6  # σ and y of one of two workers
    say(f"{wanted.points:,} x {wanted.clusters} float32, {wanted.iterations} iterations, 2 workers\n")
    say("| what | figure |\n|---|---|")
    say(f"| an iteration on 2 actors | {1000 * times['actors'] / wanted.iterations:.0f} ms |")
    say(
        f"| an iteration in one process on 2 threads | {1000 * times['process'] / wanted.iterations:.0f} ms |"
    )
    say(f"| ratio | {times['actors'] / times['process']:.2f} |")
    say(f"| all on 2 actors, with their start and y in the object store | {times['actors, all']:.2f} s |")
    say(f"| all in one process on 2 threads | {times['process, all']:.2f} s |")
    say(f"| ratio | {times['actors, all'] / times['process, all']:.2f} |")
    say(f"| share of σ and y x 1.3 + 500 MB | {share * 1.3 + 500:.0f} MB |")
    for name, megabytes in memory.items():
        say(f"| peak memory of {name} | {megabytes:.0f} MB |")
    equal = len(set(digests.values())) == 1
    say(f"| labels of {', '.join(digests)} | {'equal' if equal else 'DIFFERENT'} to the last bit |")
    say(json.dumps({"seconds": found, "digests": digests, "memory_mb": memory}))


if __name__ == "__main__":
    main()
