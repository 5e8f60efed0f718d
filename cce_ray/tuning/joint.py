"""One configuration for several data sets: every sample is trained on all of them, and its scores taken
on a scale of each set's own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cce_ray.config import RunConfig
from cce_ray.files import write_json
from cce_ray.runs import CLUSTERS_FILE, Listener
from cce_ray.tuning.objectives import value_of
from cce_ray.tuning.search_settings import Search
from cce_ray.tuning.trial import StudyPlan, ignore, train_once

_SCALES_FILE = "scales.json"
_LEAST = 0.05
"""A scale is at least this long: a best so far that hardly beats k-means says little."""


def check_joint(searches: Sequence[Search]) -> None:
    """ValueError, one line, unless the searches can share their samples."""
    first = searches[0]
    if len(searches) < 2:
        raise ValueError(f"--joint: {first.settings.name} alone; give two or more search spaces")
    for other in searches[1:]:
        pair = f"{first.settings.name} and {other.settings.name}"
        different = sorted(
            key
            for key in first.settings.space.keys() | other.settings.space.keys()
            if first.settings.space.get(key) != other.settings.space.get(key)
        )
        if different:
            raise ValueError(
                f"--joint: {pair} differ in space.{different[0]}; give spaces with the same settings"
            )
        if first.settings.objective != other.settings.objective:
            raise ValueError(f"--joint: {pair} have different objectives; name one with --objective")
    if first.settings.objective == "loss":
        raise ValueError("--joint: losses of different data sets cannot be compared; use another --objective")


def joint(plans: Sequence[StudyPlan], scales: Mapping[str, tuple[float, float]]) -> StudyPlan:
    """One plan for all."""
    first, *others = (replace(plan, scale=scales[plan.name], folder=plans[0].folder) for plan in plans)
    return replace(first, also=tuple(others))


def scales_of(folder: Path, plans: Sequence[StudyPlan], listener: Listener) -> dict[str, tuple[float, float]]:
    """{search: (value of k-means, value of the first starting sample)}, measured once a study and kept."""
    kept = folder / _SCALES_FILE
    if not kept.exists():
        found = {plan.name: measured(plan) for plan in plans}
        write_json(kept, found)
    scales = {name: (low, high) for name, (low, high) in json.loads(kept.read_text(encoding="utf-8")).items()}
    for plan in plans:
        low, high = scales[plan.name]
        listener.note(
            f"{plan.name}: {plan.judge.criterion} of k-means {low:.4f} counts as 0, {high:.4f} as 1"
        )
    return scales


def measured(plan: StudyPlan) -> tuple[float, float]:
    """The scale of one data set."""
    low = value(plan, kmeans(plan.search.base))
    start = plan.search.start[0] if plan.search.start else {}
    return low, max(value(plan, plan.config(start)), low + _LEAST)


def kmeans(base: RunConfig) -> RunConfig:
    """The same data clustered by k-means."""
    return base.with_({"method": "kmeans", "model": "centroids", "pseudo_labels": {}, "runtime.workers": 0})


def value(plan: StudyPlan, config: RunConfig) -> float:
    """Of the criterion, for a run in this process."""
    with tempfile.TemporaryDirectory(prefix="cce_ray-") as name:
        train_once(config, plan, Path(name), ignore, None)
        clusters = np.load(Path(name) / CLUSTERS_FILE, allow_pickle=False)
    probs = np.eye(plan.dataset.num_clusters)[clusters]
    return value_of(plan.judge.criterion, plan.judge.criteria(probs))
