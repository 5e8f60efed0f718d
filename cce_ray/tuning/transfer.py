"""Do the best settings of one data set suit another? Finalists of each search, trained on the other sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from cce_ray.distributed import collect_results
from cce_ray.files import read_record, write_json, write_text
from cce_ray.runs import RESULT_FILE, Listener, SeedResult
from cce_ray.tuning.finals import REMEDY, candidates, final_seeds, remote_task, seed_folder, without_result
from cce_ray.tuning.judging import criteria_of
from cce_ray.tuning.leaderboard import to_csv
from cce_ray.tuning.records import TrialRecord
from cce_ray.tuning.study import Study
from cce_ray.tuning.trial import StudyPlan

TABLE_FILE = "transfer.csv"


class TransferRun(NamedTuple):
    """The sample of a finalist on the data set of another study, with one of its seeds."""

    study: Study
    record: TrialRecord
    other: Study
    seed: int

    def __str__(self) -> str:
        return f"{self.study.name} trial {self.record.number} on {self.other.name}, seed {self.seed}"


def transfer(
    studies: Sequence[Study],
    plans: Mapping[str, StudyPlan],
    references: Mapping[str, Any],
    root: Path,
    listener: Listener,
) -> Path:
    """Run what is missing, as Ray tasks, and write the table; a row a finalist, columns for every set.

    Args:
        studies: whose last round is over.
        plans: {study: plan}.
        references: {study: its plan in Ray's object store}.
        root: folder of the whole command.
        listener: learns of runs that diverged.

    Raises:
        ValueError: one line, if a run is lost again and again; what was finished before is written.
    """
    runs = missing_runs(studies, root)
    if runs:
        listener.note(f"transfer: {len(runs)} runs of the finalists on the other data sets")
    start = {
        study.name: partial(remote_task(study).remote, references[study.name], study.name)
        for study in studies
    }
    tasks = ((start[run.other.name](run.record.sample, run.seed), run) for run in runs)
    for run, answer in collect_results(tasks, lambda run: f"transfer: {run}", REMEDY):
        keep(run, answer, root, listener)
    rows = [row(studies, plans, root, study, record) for study in studies for record in candidates(study)]
    write_text(root / TABLE_FILE, to_csv(rows))
    return root / TABLE_FILE


def missing_runs(studies: Sequence[Study], root: Path) -> list[TransferRun]:
    """The runs without a result."""
    runs = (
        TransferRun(study, record, other, seed)
        for study in studies
        for record in candidates(study)
        for other in studies
        if other is not study
        for seed in final_seeds(study)
    )
    return [run for run in runs if read_record(place(root, *run) / RESULT_FILE, SeedResult) is None]


def keep(run: TransferRun, answer: Mapping[str, Any], root: Path, listener: Listener) -> None:
    """Write what a task returned."""
    problem = answer.get("problem")
    if problem:
        listener.warn(f"{run}: {problem}")
    folder = place(root, *run)
    folder.mkdir(parents=True, exist_ok=True)
    result = asdict(without_result(run.seed, problem)) if problem else answer["result"]
    write_json(folder / RESULT_FILE, result)


def place(root: Path, study: Study, record: TrialRecord, other: Study, seed: int) -> Path:
    """Where the result of a run lies; on the study's own data set that of the last round."""
    if other is study:
        return seed_folder(study, record.number, seed, study.name)
    return root / "transfer" / f"{study.name}-{record.number:04d}-on-{other.name}" / f"seed_{seed}"


def row(
    studies: Sequence[Study],
    plans: Mapping[str, StudyPlan],
    root: Path,
    study: Study,
    record: TrialRecord,
) -> dict[str, Any]:
    """Mean and standard deviation over the seeds on every data set: accuracy, or without labels the
    criterion of the search."""
    cells: dict[str, Any] = {"found on": study.name, "trial": record.number}
    for other in studies:
        name = (
            "accuracy" if plans[other.name].dataset.labels is not None else plans[other.name].judge.criterion
        )
        results = [
            read_record(place(root, study, record, other, seed) / RESULT_FILE, SeedResult)
            for seed in final_seeds(study)
        ]
        values = [criteria_of(one.history[-1])[name] for one in results if one and one.history]
        cells[f"{name} on {other.name}"] = fmean(values) if values else None
        cells[f"sd on {other.name}"] = stdev(values) if len(values) > 1 else None
    return cells
