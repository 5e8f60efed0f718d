"""A whole search: data, trials on Ray Tune, the last round, the champion."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cce_ray.data import Dataset, load_dataset
from cce_ray.distributed import (
    RETRIES,
    address_of,
    check_nodes,
    code_version,
    connected,
    paths_read,
    this_machine,
)
from cce_ray.runs import Listener, check_fits, locked, tracked_run
from cce_ray.tracking import TrackedRun, Tracker, make_tracker
from cce_ray.tuning.asha import ASHAInTurn
from cce_ray.tuning.finals import candidates, last_round
from cce_ray.tuning.joint import check_joint, joint, scales_of
from cce_ray.tuning.judging import make_judge
from cce_ray.tuning.objectives import OBJECTIVES
from cce_ray.tuning.optuna_searcher import SearchInTurn
from cce_ray.tuning.publishing import SearchSummary, publish
from cce_ray.tuning.recorder import Recorder
from cce_ray.tuning.resources import concurrency, trial_resources
from cce_ray.tuning.search_settings import SchedulerSettings, Search
from cce_ray.tuning.stop_list import make_stop_list
from cce_ray.tuning.study import SEARCH_FILE, Study, open_root, open_study
from cce_ray.tuning.transfer import transfer
from cce_ray.tuning.trial import StudyPlan, run_trial

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner ignores verbose=0; our lines tell more
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files of every trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interruption ends the search at once, and keeps the best so far
    "TUNE_MAX_PENDING_TRIALS_PG": "1",  # every sample should know the results before it
}


@dataclass(frozen=True)
class Options:
    """How a search is run, as opposed to what is searched."""

    address: str | None = None
    resume: bool = False
    retry_failed: bool = False
    extend: int = 0
    joint: bool = False
    """Whether every sample is trained on the data sets of all searches."""


def run_search(
    searches: Sequence[Search], options: Options | None = None, listener: Listener | None = None
) -> list[SearchSummary]:
    """Search, choose a champion, publish it; one study for every search, which share the cluster, or one for
    all of them together if the search is joint.

    Everything lies below the output folder; `resume` goes on after whatever ended it. An interruption
    (KeyboardInterrupt) is raised again after the best so far has been published.

    Raises:
        ValueError: one line, before anything is written, for what cannot work; after the search if no trial
            was finished.
    """
    options, listener = options or Options(), listener or Listener()
    searches = [_with_threads(search) for search in searches]
    names = [search.settings.name for search in searches]
    if len(set(names)) < len(names):
        raise ValueError(
            f"name: {' and '.join(names)}: two searches of one name; set name in one of the files"
        )
    if options.joint:
        check_joint(searches)
    if address_of(options.address) == "local":
        for search in searches:
            concurrency(search, this_machine())
    root = open_root(list(searches), options.resume)
    studies = opened(searches, root, options)
    plans = {search.settings.name: _plan_of(search, root, studies, listener) for search in searches}
    with ExitStack() as stack:
        stack.enter_context(locked(root, resumed=options.resume, marker=SEARCH_FILE))
        tracker = make_tracker(searches[0].base.tracking, root)
        nodes = stack.enter_context(connected(options.address))
        most = min(concurrency(search, nodes) for search in searches)
        read = [paths_read(plan.search.base, plan.dataset) for plan in plans.values()]
        check_nodes({path: key for one in read for path, key in one.items()})
        for study in studies:
            study.folder.mkdir(parents=True, exist_ok=True)
            study.save()
        if options.joint:
            scales = scales_of(root, list(plans.values()), listener)
            plans = {studies[0].name: joint(list(plans.values()), scales)}
        parents = {
            study.name: stack.enter_context(parent_run(tracker, study, plans[study.name], options.resume))
            for study in studies
        }
        seek = Seeking(root, studies, plans, tracker, parents, listener, most)
        return seek.run()


def _with_threads(search: Search) -> Search:
    """The search with the threads of a trial: one on the CPU, for trials share the machine better than
    threads do."""
    base, threads = search.base, search.base.runtime.threads or 1
    if base.method.required_model:
        raise ValueError(f"method: {base.method.name} is fitted in one step; there is nothing to search")
    changes = {"runtime.threads": threads, "runtime.evaluate_every": 0}
    return Search(search.settings, base.with_(changes).resolved())


def opened(searches: Sequence[Search], root: Path, options: Options) -> list[Study]:
    """One study for all searches together, in the root folder, or one each: of several in a folder of its own
    there."""
    how: dict[str, Any] = {"resume": options.resume, "retry_failed": options.retry_failed}
    how["extend"] = options.extend
    if options.joint:
        return [open_study(searches[0], root, also=searches[1:], **how)]
    several = len(searches) > 1
    return [open_study(one, root / one.settings.name if several else root, **how) for one in searches]


def _plan_of(search: Search, root: Path, studies: Sequence[Study], listener: Listener) -> StudyPlan:
    """The data and the judge of a search. ValueError if they do not fit it."""
    folder = next((study.folder for study in studies if study.search is search), root)
    dataset = load_dataset(search.base.data)
    for note in dataset.notes:
        listener.warn(note)
    check_fits(search.base, dataset)
    _check_objective(search, dataset)
    criterion = OBJECTIVES[search.settings.objective].searched
    judge = make_judge(dataset, search.settings.embedding, criterion, tuple(search.judged_epochs))
    return StudyPlan(search, dataset, judge, folder, code_version())


def _check_objective(search: Search, dataset: Dataset) -> None:
    """ValueError if the objective needs labels and there are none."""
    name = search.settings.objective
    if OBJECTIVES[name].needs_labels and dataset.labels is None:
        without = ", ".join(key for key, one in OBJECTIVES.items() if not one.needs_labels)
        raise ValueError(f"objective: {name} needs labels, and {dataset.name} has none; use one of {without}")


@contextmanager
def parent_run(tracker: Tracker, study: Study, plan: StudyPlan, resume: bool) -> Iterator[TrackedRun]:
    """The tracked run above a study's trials."""
    base = study.search.base
    with tracked_run(tracker, study.folder, study.name, base, plan.dataset, resume=resume) as run:
        if resume:
            kept = {record.run_id for record in study.records if record.run_id}
            tracker.forget_children(run.id, kept)
        yield run


@dataclass
class Seeking:
    """The search while it runs."""

    root: Path
    studies: list[Study]
    plans: Mapping[str, StudyPlan]
    tracker: Tracker
    parents: Mapping[str, TrackedRun]
    listener: Listener
    most: int

    def run(self) -> list[SearchSummary]:
        """Trials, the last round, the champions."""
        import ray

        references = {name: ray.put(plan) for name, plan in self.plans.items()}
        interrupted: BaseException | None = None
        try:
            self.search(references)
            for study in self.studies:
                last_round(study, self.plans[study.name], references[study.name], self.tracker, self.listener)
            if len(self.studies) > 1:
                table = transfer(self.studies, self.plans, references, self.root, self.listener)
                for parent in self.parents.values():
                    parent.log_artifacts([table])
        except KeyboardInterrupt as error:
            interrupted = error
            if not all(candidates(study) for study in self.studies):
                raise
            self.listener.note("interrupted: the best so far is kept")
        summaries = [
            publish(study, self.plans[study.name], self.parents[study.name], self.tracker)
            for study in self.studies
        ]
        if interrupted:
            raise interrupted
        return summaries

    def search(self, references: Mapping[str, Any]) -> None:
        """Run the trials that are missing, and once more those whose process was lost before they began."""
        wanted = {study.name: study.missing() for study in self.studies}
        recorder = Recorder(
            self.plans,
            [record for study in self.studies for record in study.records],
            self.tracker,
            self.parents,
            self.listener,
            sum(study.trials for study in self.studies),
        )
        recorder.settle()
        for _ in range(1 + RETRIES):
            if not sum(wanted.values()):
                return
            records = list(recorder.records.values())
            recorder.unstarted.clear()
            try:
                run_tune(self.studies, self.plans, wanted, records, recorder, references, self.most)
            finally:
                recorder.interrupted()
                for study in self.studies:
                    study.records = [one for one in recorder.records.values() if one.study == study.name]
            wanted = {study.name: recorder.unstarted[study.name] for study in self.studies}


def longest(study: Study, plan: StudyPlan) -> int:
    """Epochs of a trial; in a joint search data sets."""
    return len(plan.parts) if plan.also else study.search.base.optimizer.epochs


def _comparisons(study: Study, plan: StudyPlan) -> SchedulerSettings:
    """When trials are compared; in a joint search after each data set."""
    wanted = study.search.settings.scheduler
    return wanted.with_({"grace_epochs": 1}) if plan.also else wanted


def run_tune(
    studies: Sequence[Study],
    plans: Mapping[str, StudyPlan],
    wanted: Mapping[str, int],
    records: Sequence[Any],
    recorder: Recorder,
    references: Mapping[str, Any],
    most: int,
) -> None:
    """Ray Tune over all studies."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from ray import tune
    from ray.tune import FailureConfig, PlacementGroupFactory, RunConfig, TuneConfig

    base = studies[0].search.base
    resources = {study.name: PlacementGroupFactory([trial_resources(study.search)]) for study in studies}
    nested = any(study.search.base.runtime.workers for study in studies)
    stop_list = make_stop_list() if nested else None
    budget = studies[0].search.settings.time_budget
    with tempfile.TemporaryDirectory(prefix="cce_ray-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trial_function, plans=dict(references), stop_list=stop_list),
                lambda config: resources[config["study"]],
            ),
            tune_config=TuneConfig(
                search_alg=SearchInTurn(
                    {study.name: study.search for study in studies}, records, wanted, base.runtime.seed
                ),
                scheduler=ASHAInTurn(
                    {study.name: _comparisons(study, plans[study.name]) for study in studies},
                    {study.name: longest(study, plans[study.name]) for study in studies},
                    records,
                    stop_list,
                ),
                num_samples=sum(wanted.values()),
                max_concurrent_trials=most,
                time_budget_s=budget,
                reuse_actors=True,
            ),
            run_config=RunConfig(
                name="search",
                storage_path=scratch,
                callbacks=[recorder],
                failure_config=FailureConfig(max_failures=RETRIES),
                verbose=0,
            ),
        )
        tuner.fit()


def _trial_function(config: dict[str, Any], plans: Mapping[str, Any], stop_list: Any) -> None:
    """Fetch the plan of the trial's study from the object store, and run it."""
    import ray

    study = config["study"]
    run_trial(config, {study: ray.get(plans[study])}, stop_list)
