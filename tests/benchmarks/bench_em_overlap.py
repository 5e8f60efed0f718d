"""How much of EM's time the augmented view hides when EM runs in a Ray task beside the training.

    python tests/benchmarks/bench_em_overlap.py [--batch 4096] [--clusters 1000] [--repetitions 3] [-o FOLDER]

The package's own training step with ResNet-18 on random 32x32 colour images, one thread for the trainer and
one for the task. Steps alternate between labels by a Ray task, by this process on one and on two threads, and
no estimation (y = σ). Written to FOLDER: a picture of the steps, and Ray's own timeline (chrome://tracing).

ResNet-18 with its standard stem: with the stem for small images, the two views of 4,096 images need more
memory (40 GB) than the machine that these figures were made on has.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cce_ray.config import load_config
from cce_ray.data import load_dataset
from cce_ray.distributed.em.tasks import EMTasks
from cce_ray.pseudo_labels import PseudoLabels
from cce_ray.training import LocalContext, loop
from cce_ray.training import step as steps
from cce_ray.training.labelling import BatchProbs, HelperLabeller, InlineLabeller, Labelled

Span = tuple[str, str, float, float]
"""(lane, what, start, end)."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class NoEstimation:
    """y = σ: a step without EM."""

    within_epochs = True

    def begin_epoch(self, model: Any, prior: Any) -> None:
        pass

    def submit(self, batch: BatchProbs, prior: Any) -> Callable[[], Labelled]:
        labels = batch.predicted[batch.own]
        found = PseudoLabels(labels, lambda: 0.0, lambda: 0.0, (0, 0.0), lambda: "max_iterations")
        return lambda: (found, labels)


class TimedTasks:
    """EMTasks whose tasks tell when they ran."""

    def __init__(self, spans: list[Span]) -> None:
        self.tasks, self.spans = EMTasks(), spans

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        started = time.time()
        answer = self.tasks.submit(timed_call, function, *arguments)
        self.spans.append(("trainer", "hand over σ", started, time.time()))
        spans = self.spans

        class Answer:
            def result(self) -> Any:
                begun = time.time()
                found, first, last = answer.result()
                spans.append(("trainer", "wait for y", begun, time.time()))
                spans.append(("EM task", "EM", first, last))
                return found

        return Answer()


def timed_call(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    started = time.time()
    found = function(*arguments)
    return found, started, time.time()


def make_job(batch: int, clusters: int, folder: Path, tasks: TimedTasks) -> Any:
    """The training loop's own job, one batch an epoch."""
    images = np.random.default_rng(0).integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    overrides = ["data=arrays", f"data.path={folder / 'images.npy'}", f"data.num_clusters={clusters}"]
    overrides += ["model=resnet18", "model.stem=standard", "method.augmentation_weight=1"]
    overrides += [f"optimizer.batch_size={batch}", "runtime.threads=1", "tracking.enabled=false"]
    overrides += ["pseudo_labels.max_iterations=20", "pseudo_labels.tolerance=0", "method.fairness_weight=20"]
    config = load_config(None, overrides)[0].resolved()
    dataset = load_dataset(config.data)
    context = LocalContext(torch.device("cpu"), helper=None)
    torch.manual_seed(0)
    model = loop.build_model(config, dataset)
    batches = loop.Batches(dataset.samples, dataset.train_indices, batch_size=batch, device="cpu")
    return loop.start(config, dataset, context, model, batches)


def step(job: Any, spans: list[Span]) -> float:
    """Seconds of one training step; its spans."""

    def timed(work: Callable[..., Any], *names: str) -> Callable[..., Any]:
        names_left = iter(names)

        def call(*arguments: Any) -> Any:
            started = time.time()
            found = work(*arguments)
            spans.append(("trainer", next(names_left), started, time.time()))
            return found

        return call

    indices, inputs = next(iter(job.batches.epoch(0)))
    forward, update = job.forward, steps.update
    job.forward = timed(forward, "forward", "augmented view")
    steps.update = timed(update, "backward, update")
    started = time.perf_counter()
    try:
        steps.training_step(job, indices, inputs)
    finally:
        seconds = time.perf_counter() - started
        job.forward, steps.update = forward, update
    return seconds


def draw(spans: list[Span], path: Path) -> None:
    """One step's spans: the trainer's lane and the task's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    zero = min(span[2] for span in spans)
    colours = {"forward": "#4c78a8", "augmented view": "#72b7b2", "backward, update": "#9d9da1"}
    colours |= {"EM": "#e45756", "hand over σ": "#f2cf5b", "wait for y": "#b279a2"}
    figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    lanes = ["EM task", "trainer"]
    seen = set()
    for lane, what, first, last in spans:
        label = None if what in seen else f"{what} ({last - first:.2f} s)"
        seen.add(what)
        axes.barh(lanes.index(lane), last - first, left=first - zero, color=colours[what], label=label)
    axes.set_yticks(range(2), lanes)
    axes.set_xlabel("seconds since the step began")
    axes.set_ylim(-0.6, 1.6)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    import ray

    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    wanted = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _temp_dir=f"/tmp/cce_overlap_{os.getpid()}",
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=10**9,
    )
    spans: list[Span] = []
    tasks = TimedTasks(spans)
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(wanted.batch, wanted.clusters, Path(folder), tasks)
        inline = job.config.with_({"pseudo_labels.backend": "inline"})
        labellers = {
            "none": NoEstimation(),
            "Ray task": HelperLabeller(job.config, tasks, wanted.clusters),
            "inline, 1 thread": InlineLabeller(inline),
            "inline, 2 threads": InlineLabeller(job.config),
        }
        seconds, blocked, em, latest = measure(job, labellers, spans, wanted.repetitions)
    report(wanted, seconds, blocked, statistics.median(em))
    if wanted.output:
        wanted.output.mkdir(parents=True, exist_ok=True)
        draw(latest, wanted.output / "em_overlap.png")
        ray.timeline(str(wanted.output / "ray_timeline.json"))
    ray.shutdown()


def measure(
    job: Any, labellers: dict[str, Any], spans: list[Span], repetitions: int
) -> tuple[dict[str, list[float]], list[float], list[float], list[Span]]:
    """(seconds of the steps, of what a step with the task was held up, of EM in the task, spans of the last
    such step)."""
    seconds: dict[str, list[float]] = {name: [] for name in labellers}
    blocked: list[float] = []
    em: list[float] = []
    latest: list[Span] = []
    for repetition in range(repetitions + 1):
        for name, labeller in labellers.items():
            job.labeller = labeller
            torch.set_num_threads(1)
            if name == "inline, 2 threads":
                labeller = job.labeller = TwoThreads(labeller)
            spans.clear()
            spent = step(job, spans)
            say(f"{repetition} {name}: {spent:.2f} s")
            if repetition:  # the first is for compilation and memory
                seconds[name].append(spent)
            if name == "Ray task" and repetition:
                held = [s for s in spans if s[1] in ("hand over σ", "wait for y")]
                blocked.append(sum(last - first for _, _, first, last in held))
                em += [last - first for _, what, first, last in spans if what == "EM"]
                latest = list(spans)
    return seconds, blocked, em, latest


class TwoThreads:
    """EM on two threads in a process whose network has one."""

    within_epochs = True

    def __init__(self, labeller: Any) -> None:
        self.labeller = labeller

    def begin_epoch(self, model: Any, prior: Any) -> None:
        pass

    def submit(self, batch: BatchProbs, prior: Any) -> Callable[[], Labelled]:
        pending = self.labeller.submit(batch, prior)

        def finish() -> Labelled:
            torch.set_num_threads(2)
            found: Labelled = pending()
            torch.set_num_threads(1)
            return found

        return finish


def report(wanted: Any, seconds: dict[str, list[float]], blocked: list[float], em: float) -> None:
    """The figures as Markdown and one line of JSON."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    say(f"\nM={wanted.batch}, K={wanted.clusters}, 20 EM iterations, which take the task {em:.3f} s\n")
    say("| labels by | step | over a step without EM | hidden of EM |\n|---|---|---|---|")
    for name, value in medians.items():
        over = value - medians["none"]
        hidden = "" if name == "none" else f"{100 * (1 - over / em):.0f} %"
        say(f"| {name} | {value:.2f} s | {over:.2f} s | {hidden} |")
    held = statistics.median(blocked)
    hidden = 100 * (1 - held / em)
    say(f"\nhanding over and waiting held the trainer up for {held:.4f} s: {hidden:.0f} % of EM hidden")
    say(json.dumps({"seconds": seconds, "blocked": blocked, "em": em}))


if __name__ == "__main__":
    main()
