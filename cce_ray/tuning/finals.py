"""The last round: the best trials again with seeds that the search has not seen; their means decide."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from cce_ray.config import RunConfig, flatten
from cce_ray.distributed import collect_results, task_options
from cce_ray.files import read_record, write_json
from cce_ray.metrics import stability
from cce_ray.runs import (
    CLUSTERS_FILE,
    MODEL_FILE,
    RESULT_FILE,
    Listener,
    SeedResult,
    final_metrics,
    finishing,
    run_tags,
)
from cce_ray.tracking import Tracker
from cce_ray.tuning.judging import criteria_of
from cce_ray.tuning.objectives import OBJECTIVES, merit
from cce_ray.tuning.records import TrialRecord, best_first, trial_folder
from cce_ray.tuning.resources import trial_resources
from cce_ray.tuning.study import Study
from cce_ray.tuning.trial import StudyPlan, ignore, train_once

REMEDY = "give the same command with --resume: what is finished is kept"
"""For a run of the last round or the transfer that is lost again and again."""


class FinalRun(NamedTuple):
    """A run of the last round: the sample of a trial on one data set, with a fresh seed."""

    study: Study
    part: StudyPlan
    """Of the data set."""
    record: TrialRecord
    seed: int

    def __str__(self) -> str:
        return f"{self.study.name} trial {self.record.number}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What the fresh seeds of a trial came to on one data set."""

    seeds: dict[int, dict[str, float]]
    """{seed: criteria}."""
    folders: dict[int, Path]
    mean: dict[str, float]
    """Means over the seeds, and the seeds' `stability`."""

    def spread(self) -> dict[str, float]:
        """Standard deviations over the seeds."""
        columns = {name: [one[name] for one in self.seeds.values() if name in one] for name in self.mean}
        return {name: stdev(values) for name, values in columns.items() if len(values) > 1}


@dataclass(frozen=True)
class Finalist:
    """A trial of the last round."""

    record: TrialRecord
    outcomes: dict[str, Outcome]
    """{data set's search: outcome}; one but in a joint search."""

    @property
    def first(self) -> Outcome:
        """On the first data set."""
        return next(iter(self.outcomes.values()))


def final_seeds(study: Study) -> list[int]:
    """The seeds of the last round; the search itself has used the one before them."""
    first = study.search.base.runtime.seed + 1
    return list(range(first, first + study.search.settings.final.seeds))


def candidates(study: Study) -> list[TrialRecord]:
    """The trials of the last round, best first: those that were trained to the end, if there are any.

    One of several places is for the best of the starting samples: what is known to work is the yardstick.
    """
    top = study.search.settings.final.top
    ended = best_first(record for record in study.records if record.state == "finished")
    rest = best_first(record for record in study.records if record.state in ("stopped", "collapsed"))
    chosen = (ended or rest)[:top]
    known = [one for one in ended + rest if one.sample in study.search.start]
    if top > 1 and known and not any(one in chosen for one in known):
        chosen[top - 1 :] = known[:1]
    return chosen


def seed_folder(study: Study, number: int, seed: int, part: str) -> Path:
    """Where a finalist's seed keeps its model, clusters and result, for a data set's search."""
    own = f"seed_{seed}" if part == study.name else f"seed_{seed}-{part}"
    return trial_folder(study.folder, number) / own


def last_round(study: Study, plan: StudyPlan, reference: Any, tracker: Tracker, listener: Listener) -> None:
    """Train what is missing of the last round, as Ray tasks; everything is written to the study's folder.

    Args:
        study: gets a folder for every trial and seed.
        plan: of the study.
        reference: of the plan in Ray's object store.
        tracker, listener: learn of every run that has ended.

    Raises:
        ValueError: one line, if a run is lost again and again; what was finished before is written.
    """
    runs = missing_runs(study, plan, tracker)
    if runs:
        listener.note(f"{study.name}: last round, {len(runs)} runs with fresh seeds")
    task = remote_task(study)
    tasks = ((task.remote(reference, run.part.name, run.record.sample, run.seed), run) for run in runs)
    for run, answer in collect_results(tasks, lambda run: f"last round: {run}", REMEDY):
        keep(run, answer, tracker, listener)


def missing_runs(study: Study, plan: StudyPlan, tracker: Tracker) -> list[FinalRun]:
    """The runs of the last round without a result; the tracker forgets what a killed process left of them."""
    missing = []
    for record in candidates(study):
        known = set()
        for part, seed in product(plan.parts, final_seeds(study)):
            folder = seed_folder(study, record.number, seed, part.name)
            result = read_record(folder / RESULT_FILE, SeedResult)
            if result is None:
                missing.append(FinalRun(study, part, record, seed))
            elif result.run_id:
                known.add(result.run_id)
        tracker.forget_children(record.run_id, known)
    return missing


def remote_task(study: Study) -> Any:
    """`_train_final` with what it reserves, the same as a trial."""
    import ray

    return ray.remote(_train_final).options(**task_options(trial_resources(study.search)), name="last round")


def _train_final(plan: StudyPlan, part: str, sample: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A task: one sample with one seed; returns {"problem"} or {"result", "files": {name: content}}."""
    plan = next(one for one in plan.parts if one.name == part)
    config = seeded(plan.config(sample), seed)
    with tempfile.TemporaryDirectory(prefix="cce_ray-") as name:
        folder = Path(name)
        try:
            result = train_once(config, plan, folder, ignore, plan.judge.at_end())
        except ValueError as error:
            return {"problem": str(error)}
        files = {file: (folder / file).read_bytes() for file in (MODEL_FILE, CLUSTERS_FILE)}
    return {"result": asdict(result), "files": files}


def seeded(config: RunConfig, seed: int) -> RunConfig:
    """The run with another seed."""
    return config.with_({"runtime.seed": seed})


def keep(run: FinalRun, answer: Mapping[str, Any], tracker: Tracker, listener: Listener) -> None:
    """Write what a task returned, and track it below its trial's run."""
    study, plan, record, seed = run
    config = seeded(plan.config(record.sample), seed)
    tracked = tracker.start_run(
        f"{plan.name}-{record.number:04d}-seed{seed}",
        params=flatten(config.to_dict()),
        tags=run_tags(config, plan.dataset) | {"study": study.name, "trial": str(record.number)},
        parent_id=record.run_id,
    )
    with finishing(tracked):
        if "problem" in answer:
            listener.warn(f"{run}: {answer['problem']}")
            result = without_result(seed, answer["problem"], tracked.id)
        else:
            result = SeedResult(**answer["result"] | {"run_id": tracked.id})
        folder = seed_folder(study, record.number, seed, plan.name)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in answer.get("files", {}).items():
            (folder / name).write_bytes(content)
        for epoch, metrics in enumerate(result.history, start=1):
            tracked.log_metrics(metrics, step=epoch)
        tracked.log_metrics(final_metrics(result), step=config.optimizer.epochs)
        write_json(folder / RESULT_FILE, asdict(result))
    listener.note(f"{run}: {shown(result)}")


def without_result(seed: int, problem: str, run_id: str | None = None) -> SeedResult:
    """What is kept of a seed that diverged, or whose settings do not fit."""
    return SeedResult(seed, run_id, {}, 0, 0.0, None, 0.0, 0.0, problem)


def shown(result: SeedResult) -> str:
    """A seed's result in a few words."""
    scores = [f"{name} {value:.4f}" for name, value in result.scores.items()]
    return ", ".join(scores or [f"{result.clusters_used} clusters used, confidence {result.confidence:.2f}"])


def finalists(study: Study, plan: StudyPlan) -> list[Finalist]:
    """The candidates whose fresh seeds are all there, best first by the objective's deciding criteria: in a
    joint search by their sum over the data sets."""
    found = []
    for record in candidates(study):
        outcomes = {}
        for part in plan.parts:
            seeds = {seed: seed_folder(study, record.number, seed, part.name) for seed in final_seeds(study)}
            outcomes[part.name] = read_outcome(seeds, part.dataset.num_clusters)
        if all(outcomes.values()):
            found.append(Finalist(record, {name: one for name, one in outcomes.items() if one}))
    if not found:
        return []
    sums = np.zeros(len(found))
    for part in plan.parts:
        means = [one.outcomes[part.name].mean for one in found]
        sums += _merits(means, study.search.settings.objective, part)
    return [found[number] for number in np.argsort(-sums, kind="stable")]


def _merits(means: list[dict[str, float]], objective: str, plan: StudyPlan) -> np.ndarray:
    """(finalists,): by how much each one recommends itself on a data set."""
    deciding = OBJECTIVES[objective].deciding
    # With one seed only stability says nothing of any of them.
    known = tuple(name for name in deciding if all(name in one for one in means)) or deciding
    values = [merit(criteria, known) for criteria in means]
    return np.array([plan.scaled(value) if len(known) == 1 else value for value in values])


def read_outcome(folders: dict[int, Path], num_clusters: int) -> Outcome | None:
    """Criteria over the seeds in {seed: folder}, None if some are missing; a seed that diverged counts with
    the worst of everything."""
    nothing = {"used": 0.0, "clusters": float(num_clusters)}
    seeds: dict[int, dict[str, float]] = {}
    for seed, folder in folders.items():
        result = read_record(folder / RESULT_FILE, SeedResult)
        if result is None:
            return None
        seeds[seed] = criteria_of(result.history[-1]) if result.history else nothing
    keys = sorted(set().union(*seeds.values()))
    mean = {key: fmean(criteria.get(key, 0.0) for criteria in seeds.values()) for key in keys}
    files = [folder / CLUSTERS_FILE for folder in folders.values()]
    if len(files) > 1:
        whole = all(file.exists() for file in files)
        labellings = [np.load(file, allow_pickle=False) for file in files] if whole else []
        mean["stability"] = float(stability(labellings).mean()) if whole else 0.0
    return Outcome(seeds, folders, mean)
