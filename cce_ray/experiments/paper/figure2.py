"""Figure 2: learning from corrupted labels with soft targets, collision against Shannon's cross-entropy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, final

import numpy as np

from cce_ray.config import RunConfig
from cce_ray.data import Dataset, load_dataset
from cce_ray.distributed import Work
from cce_ray.experiments.experiment import Options, Outcome
from cce_ray.experiments.grid.data_columns import features, images
from cce_ray.experiments.grid.grid import Column, portable
from cce_ray.experiments.line_picture import Lines, Point, line_picture
from cce_ray.experiments.table import Table
from cce_ray.files import write_text
from cce_ray.runs import Listener, load_run

_LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SEEDS, QUICK_SEEDS, QUICK_LEVELS = 6, 2, (0.0, 0.5, 0.9)
LOSSES = {"cce_plus": "collision (9)", "shannon": "Shannon (8)"}
TEXT = """
A share η of the training labels is replaced by labels at random, all classes alike; every target is softened
to ŷ = η u + (1 - η) y, y the one-hot label as observed; the network learns from ŷ with the collision
cross-entropy (9) or with Shannon's (8), everything else equal: a linear classifier on standardised ResNet-50
features, Adam with learning rate 0.001 and cosine decay, 20 epochs, batches of 250. Of each set's 10,000
images 8,000 train and 2,000, with their true labels, test; the split is that of `data.split_seed` 0, the
corruption and the batches those of each seed. Accuracy is that of the arg max, without matching. With these
targets the collision cross-entropy is forward correction with the true transition matrix, (1 - η) I + η u
(§3; held by a test).

The learning rate is the one of 0.0003, 0.001, 0.003, 0.01 and 0.03 with the best accuracy at η = 0 on
CIFAR10, where the losses are the same; with each of them the collision cross-entropy was above at η = 0.5,
0.8 and 0.9.

Departures from the paper: fixed features of CIFAR10 and MNIST instead of a ResNet-18 trained on Natural
Scene, which is not at hand. Where a GPU is, a ResNet-18 learns from images too: from 8,000 of 10,000, for 30
epochs, all else equal.
"""
TRAINING = {
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.001,
    "optimizer.weight_decay": 0.0,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.0,
    "optimizer.epochs": 20,
    "optimizer.batch_size": 250,
    "data.split": 0.2,
    "tracking.enabled": False,
}
_WITH_IMAGES = {"model": "resnet18", "optimizer.epochs": 30, "data.limit": 10000}
"""Over TRAINING, where the data are images."""


@final
@dataclass(frozen=True)
class Setting:
    """One point of a curve."""

    column: str
    method: str
    level: float
    config: RunConfig

    @property
    def title(self) -> str:
        """For a line."""
        return f"{self.column} {self.method} η = {self.level:g}"

    def record(self, folder: Path, seed: int) -> Path:
        """Where its accuracy is kept: another configuration has another file, on however many threads."""
        config = self.config.with_({"runtime.threads": 0}).to_dict()
        key = sha256(json.dumps([config, self.level], sort_keys=True).encode()).hexdigest()
        return folder / f"{self.column}-{self.method}-{self.level:g}-{seed}-{key[:12]}.json"


def run(options: Options, listener: Listener) -> Outcome:
    """Train what is missing, and render."""
    columns, notes = _found_columns(options)
    seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    curves = measured(list(settings(columns, options)), seeds, options, listener)
    for note in notes:
        listener.warn(note)
    titles = {
        name: f"{column.title} {'images' if name.endswith('-images') else 'features'}"
        for name, column in columns.items()
    }
    return Outcome(
        title="Figure 2: robustness to label noise",
        text=TEXT,
        tables=[table(titles[name], found) for name, found in curves.items()],
        data=portable(
            {"seeds": seeds, "training": TRAINING, "with_images": _WITH_IMAGES, "accuracy": rounded(curves)},
            options,
        ),
        notes=[
            *notes,
            f"Accuracy in percent, mean ± sd over seeds 0 to {seeds - 1}.",
            *filter(None, [options.pool.told]),
        ],
        picture=line_picture(
            {titles[name]: lines(found) for name, found in curves.items()}, "η", "test accuracy, %"
        ),
        caption="Test accuracy over the share η of corrupted labels",
    )


def _found_columns(options: Options) -> tuple[dict[str, Column], list[str]]:
    """The data sets that are there, and a line on each that is not."""
    pictures = {f"{name}-images": column for name, column in images("cifar10", "mnist").items()}
    wanted = {**features("cifar10", "mnist"), **pictures}
    found, notes = {}, []
    for name, column in wanted.items():
        lacking = [file for file in column.needs if not (options.data / file).exists()]
        if lacking:
            notes.append(f"{name}: skipped, {lacking[0]} is not in the data folder.")
        elif name in pictures and not options.pool.has_gpus:
            notes.append(f"{name}: not run, ResNet-18 on images needs a GPU.")
        else:
            found[name] = column
    return found, notes


def settings(columns: Mapping[str, Column], options: Options) -> Iterator[Setting]:
    """Every point of every curve."""
    for name, column in columns.items():
        own = _WITH_IMAGES if name.endswith("-images") else {}
        small = {"data.limit": 2000} if options.quick else {}
        for method in LOSSES:
            changes = {**TRAINING, **own, **column.changes(options), "method": method, **small}
            config, _ = load_run("features", changes)
            for level in QUICK_LEVELS if options.quick else _LEVELS:
                yield Setting(name, method, level, config)


Curves = dict[str, dict[str, dict[float, list[float]]]]
"""{data set: {method: {η: accuracies}}}."""


def measured(points: Sequence[Setting], seeds: int, options: Options, listener: Listener) -> Curves:
    """Every point, with its seeds."""
    threads = options.pool.threads
    works = [
        Work(partial(_accuracy_of, point, seed, options.work, threads), point.config.runtime)
        for point in points
        for seed in range(seeds)
    ]
    found: dict[int, float] = {}
    for place, accuracy in options.pool.results(works, listener):
        found[place] = accuracy
        listener.note(f"{len(found)}/{len(works)} {points[place // seeds].title}: {100 * accuracy:.2f} %")
    curves: Curves = {}
    for number, point in enumerate(points):
        values = [found[number * seeds + seed] for seed in range(seeds)]
        curves.setdefault(point.column, {}).setdefault(point.method, {})[point.level] = values
    return curves


def _accuracy_of(point: Setting, seed: int, folder: Path, threads: int, listener: Listener) -> float:
    """Test accuracy of one seed, 0..1; kept in a file, and not measured again. `threads` are those of a run
    that does not say."""
    file = point.record(folder, seed)
    if not file.exists():
        config = point.config.with_({"runtime.threads": point.config.runtime.threads or threads}).resolved()
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"accuracy": trained(config, point.level, seed)}))
    return float(json.loads(file.read_text(encoding="utf-8"))["accuracy"])


def trained(config: RunConfig, level: float, seed: int) -> float:
    """Learn from softened corrupted labels, and test against the true ones."""
    from cce_ray.training import LocalContext, evaluate, train

    dataset = loaded(config.data.model_dump_json(), config)
    assert dataset.labels is not None
    config = config.with_({"runtime.seed": seed, "runtime.evaluate_every": 0})
    context = LocalContext(device=config.runtime.torch_device())
    observed = corrupted(dataset.labels, dataset.num_clusters, level, seed)
    targets = softened(observed, level, dataset.num_clusters)
    result = train(config, dataset, context, targets)
    predicted = evaluate(result.model, dataset, context.device, context.ranks).argmax(1)
    return float((predicted == dataset.labels[dataset.evaluation_indices]).mean())


_kept: dict[str, Dataset] = {}


def loaded(key: str, config: RunConfig) -> Dataset:
    """The data set, read once for all its points."""
    if key not in _kept:
        _kept.clear()
        _kept[key] = load_dataset(config.data)
    return _kept[key]


def corrupted(labels: np.ndarray, num_classes: int, level: float, seed: int) -> np.ndarray:
    """(N,) int64: each label replaced with probability `level` by one at random (perhaps the same)."""
    random = np.random.default_rng([seed, 4])
    replaced, drawn = random.random(len(labels)) < level, random.integers(num_classes, size=len(labels))
    return np.where(replaced, drawn, labels)


def softened(labels: np.ndarray, level: float, num_classes: int) -> np.ndarray:
    """ŷ = η u + (1 - η) y, (N, K) float32."""
    targets: np.ndarray = np.full((len(labels), num_classes), level / num_classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - level
    return targets


def lines(found: Mapping[str, Mapping[float, Sequence[float]]]) -> Lines:
    """In percent."""
    return {
        LOSSES[method]: [
            Point(level, 100 * fmean(values), 100 * stdev(values) if len(values) > 1 else None)
            for level, values in curve.items()
        ]
        for method, curve in found.items()
    }


def table(title: str, found: Mapping[str, Mapping[float, Sequence[float]]]) -> Table:
    """Both losses and their margin at each level; the margin is that of the same seeds."""
    rows = []
    for level in found["cce_plus"]:
        own, other = found["cce_plus"][level], found["shannon"][level]
        margin = [100 * (a - b) for a, b in zip(own, other, strict=True)]
        rows.append([f"{level:g}", *(shown([100 * value for value in values]) for values in (own, other))])
        rows[-1].append(shown(margin, sign=True))
    return Table(title, ["η", *LOSSES.values(), "margin"], rows)


def shown(values: Sequence[float], sign: bool = False) -> str:
    """Mean ± sd."""
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{fmean(values):{'+' if sign else ''}.2f}{spread}"


def rounded(curves: Any) -> Any:
    """Accuracies for JSON."""
    if isinstance(curves, Mapping):
        return {str(key): rounded(value) for key, value in curves.items()}
    return [round(value, 5) for value in curves]
