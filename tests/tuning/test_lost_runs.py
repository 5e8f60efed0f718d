"""Runs of the last round and the transfer whose processes are lost again and again."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import make_blobs

from cce_ray.data import load_dataset
from cce_ray.distributed.cluster import connected
from cce_ray.distributed.version import code_version
from cce_ray.runs.listener import Listener
from cce_ray.runs.seeds import RESULT_FILE
from cce_ray.tracking import NullTracker
from cce_ray.tuning import load_search
from cce_ray.tuning.finals import last_round
from cce_ray.tuning.judging import TrialJudge, make_judge
from cce_ray.tuning.records import TrialRecord
from cce_ray.tuning.study import Study
from cce_ray.tuning.transfer import TABLE_FILE, transfer
from cce_ray.tuning.trial import StudyPlan

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SAMPLE = {"method.fairness_weight": 20.0}
LOST = r"was lost with its process 2 times \(.+\); see that .+ with --resume: what is finished is kept$"


class DeadlyJudge:
    """Lets the first run live, and ends the process of any other when the result of the first is written."""

    def __init__(self, judge: TrialJudge, folder: Path) -> None:
        self.judge, self.folder = judge, folder

    def at_end(self) -> TrialJudge:
        """What a run asks before it trains."""
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            while not results(self.folder):
                time.sleep(0.01)
            os._exit(1)
        return self.judge.at_end()


def results(folder: Path) -> list[Path]:
    return sorted(folder.rglob(RESULT_FILE))


def planned(folder: Path, name: str, seeds: int) -> tuple[Study, StudyPlan]:
    """A study whose one trial is finished, and its plan."""
    points, classes, *_ = make_blobs(60, 3, centers=2, random_state=1)
    np.savez(folder / f"{name}.npz", features=points.astype(np.float32), labels=classes)
    values = {
        "run": "features",
        "set": {"data.path": str(folder / f"{name}.npz"), "optimizer.epochs": 1, "optimizer.batch_size": 20,
                "runtime.device": "cpu", "runtime.threads": 1},
        "space": {"method.fairness_weight": {"low": 1.0, "high": 100.0}},
        "objective": "accuracy",
        "final": {"top": 1, "seeds": seeds},
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    search = load_search(str(folder / f"{name}.yaml"))
    dataset = load_dataset(search.base.data)
    judge = make_judge(dataset, None, "accuracy", (1,))
    study = Study(search, folder / name, 1, [TrialRecord(0, name, SAMPLE, "finished", 0.5)])
    return study, StudyPlan(search, dataset, judge, study.folder, code_version())


@pytest.fixture
def put(ray_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[StudyPlan], Any]]:
    """Puts a plan into the object store of a cluster with two CPUs, where a lost run is tried once more."""
    import ray

    monkeypatch.setattr("cce_ray.distributed.pool.RETRIES", 1)
    with connected(ray_cluster.address):
        yield ray.put


def deadly(plan: StudyPlan, folder: Path) -> StudyPlan:
    return replace(plan, judge=DeadlyJudge(plan.judge, folder))


def test_a_lost_run_of_the_last_round_is_one_line_and_what_is_finished_is_kept(
    put: Callable[[StudyPlan], Any], tmp_path: Path
) -> None:
    study, plan = planned(tmp_path, "one", seeds=2)
    with pytest.raises(ValueError, match=rf"^last round: one trial 0, seed \d {LOST}"):
        last_round(study, plan, put(deadly(plan, tmp_path)), NullTracker(), Listener())
    (kept,) = results(study.folder)
    before = kept.read_bytes()
    last_round(study, plan, put(plan), NullTracker(), Listener())
    assert len(results(study.folder)) == 2 and kept.read_bytes() == before


def test_a_lost_run_of_the_transfer_is_one_line_and_what_is_finished_is_kept(
    put: Callable[[StudyPlan], Any], tmp_path: Path
) -> None:
    pairs = [planned(tmp_path, name, seeds=1) for name in ("one", "two")]
    studies = [study for study, _ in pairs]
    plans = {plan.name: plan for _, plan in pairs}
    references = {name: put(deadly(plan, tmp_path)) for name, plan in plans.items()}
    with pytest.raises(ValueError, match=rf"^transfer: (one|two) trial 0 on (one|two), seed \d {LOST}"):
        transfer(studies, plans, references, tmp_path, Listener())
    (kept,) = results(tmp_path)
    before = kept.read_bytes()
    references = {name: put(plan) for name, plan in plans.items()}
    assert transfer(studies, plans, references, tmp_path, Listener()) == tmp_path / TABLE_FILE
    assert len(results(tmp_path)) == 2 and kept.read_bytes() == before
