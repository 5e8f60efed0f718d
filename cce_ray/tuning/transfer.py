"""Do the best settings of one data set suit another? Finalists of each search, trained on the other sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from cce_ray.files.atomic import write_text
from cce_ray.files.records import read_record, write_json
from cce_ray.runs.listener import Listener
from cce_ray.runs.seeds import RESULT_FILE, SeedResult
from cce_ray.tuning.finals import candidates, final_seeds, remote_task, seed_folder, without_result
from cce_ray.tuning.judging import criteria_of
from cce_ray.tuning.leaderboard import to_csv
from cce_ray.tuning.records import TrialRecord
from cce_ray.tuning.study import Study
from cce_ray.tuning.trial import StudyPlan

TABLE_FILE = "transfer.csv"


def transfer(
    studies: Sequence[Study],
    plans: Mapping[str, StudyPlan],
    references: Mapping[str, Any],
    root: Path,
    listener: Listener,
) -> Path:
    """Run what is missing, as Ray tasks, and write the table; a row a finalist, columns for every set."""
    import ray

    jobs: dict[Any, tuple[Path, int, str]] = {}
    for study in studies:
        for record in candidates(study):
            for other in (one for one in studies if one is not study):
                for seed in final_seeds(study):
                    folder = place(root, study, record, other, seed)
                    if read_record(folder / RESULT_FILE, SeedResult) is None:
                        arguments = (references[other.name], other.name, record.sample, seed)
                        title = f"{study.name} trial {record.number} on {other.name}, seed {seed}"
                        jobs[remote_task(other).remote(*arguments)] = (folder, seed, title)
    if jobs:
        listener.note(f"transfer: {len(jobs)} runs of the finalists on the other data sets")
    while jobs:
        (ready,), _ = ray.wait(list(jobs), num_returns=1)
        folder, seed, title = jobs.pop(ready)
        answer = ray.get(ready)
        problem = answer.get("problem")
        folder.mkdir(parents=True, exist_ok=True)
        if problem:
            listener.warn(f"{title}: {problem}")
        result = asdict(without_result(seed, problem)) if problem else answer["result"]
        write_json(folder / RESULT_FILE, result)
    rows = [row(studies, plans, root, study, record) for study in studies for record in candidates(study)]
    write_text(root / TABLE_FILE, to_csv(rows))
    return root / TABLE_FILE


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
