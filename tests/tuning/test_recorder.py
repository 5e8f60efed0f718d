"""What the driver keeps of trials: one record and one tracked run each, whatever happens on the way."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cce_ray.data import load_dataset
from cce_ray.distributed.version import code_version
from cce_ray.runs.listener import Listener
from cce_ray.tracking import TrackingSettings, make_tracker
from cce_ray.tuning import load_search
from cce_ray.tuning.judging import make_judge
from cce_ray.tuning.recorder import Recorder
from cce_ray.tuning.records import TrialRecord, read_trials
from cce_ray.tuning.search import Seeking
from cce_ray.tuning.study import Study
from cce_ray.tuning.trial import StudyPlan

SAMPLE = {"method.fairness_weight": 20.0}


class Trial:
    """The part of Tune's trial that a callback looks at."""

    error_file = None

    def __init__(self, number: int) -> None:
        self.config = {"study": "mine", "number": number, "sample": SAMPLE}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs, to be copied: making one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    make_tracker(TrackingSettings(), folder)
    return folder / "mlflow.db"


@pytest.fixture
def plan(tmp_path: Path, empty_store: Path) -> StudyPlan:
    path = tmp_path / "mine.yaml"
    space = {"method.fairness_weight": {"low": 1.0, "high": 100.0}}
    path.write_text(yaml.safe_dump({"run": "digits", "space": space, "set": {"data.limit": 100}}))
    search = load_search(str(path), ["optimizer.batch_size=50"])
    dataset = load_dataset(search.base.data)
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(empty_store, folder)
    return StudyPlan(search, dataset, make_judge(dataset, None, "accuracy", (60,)), folder, code_version())


class Session:
    """A recorder and what it writes to."""

    def __init__(self, plan: StudyPlan) -> None:
        self.tracker = make_tracker(TrackingSettings(), plan.folder)
        self.parent = self.tracker.start_run("mine")
        self.recorder = self.begin(plan)

    def begin(self, plan: StudyPlan) -> Recorder:
        """As a session does that finds the study's records."""
        known = read_trials(plan.folder)
        return Recorder({"mine": plan}, known, self.tracker, {"mine": self.parent}, Listener(), 3)

    def status(self, record: TrialRecord) -> str:
        found: Any = self.tracker
        return str(found._client.get_run(record.run_id).info.status)


def report(value: float, epoch: int, state: str, **more: Any) -> dict[str, Any]:
    history = [(epoch, {"loss/total": 1.0, "objective/value": value})]
    return {"value": value, "epoch": epoch, "state": state, "history": history, "criteria": {},
            "time_this_iter_s": 1.0, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("last", "state", "status"),
    [
        (report(0.7, 60, "finished"), "finished", "FINISHED"),
        (report(0.2, 20, "running"), "stopped", "FINISHED"),
        (report(0.1, 20, "collapsed", reason="few clusters"), "collapsed", "FINISHED"),
        (report(0.0, 1, "diverged", reason="not finite"), "diverged", "FAILED"),
    ],
)
def test_how_a_trial_ends(last: dict[str, Any], state: str, status: str, plan: StudyPlan) -> None:
    session, trial = Session(plan), Trial(0)
    session.recorder.on_trial_start(1, [], trial)
    session.recorder.on_trial_result(1, [], trial, report(0.3, 7, "running"))
    session.recorder.on_trial_result(2, [], trial, last)
    session.recorder.on_trial_complete(3, [], trial)
    (record,) = read_trials(plan.folder)
    assert (record.state, record.value, record.done, record.closed) == (state, last["value"], True, True)
    assert session.status(record) == status


def test_a_trial_whose_process_is_lost_begins_again_in_the_same_run(plan: StudyPlan) -> None:
    session, trial = Session(plan), Trial(0)
    session.recorder.on_trial_start(1, [], trial)
    first = session.recorder.records[0].run_id
    session.recorder.on_trial_start(2, [], trial)
    session.recorder.on_trial_result(3, [], trial, report(0.7, 60, "finished"))
    session.recorder.on_trial_complete(4, [], trial)
    (record,) = read_trials(plan.folder)
    assert record.run_id == first


def test_a_trial_that_is_lost_for_good_fails_and_can_be_tried_again(plan: StudyPlan) -> None:
    session, trial = Session(plan), Trial(0)
    session.recorder.on_trial_start(1, [], trial)
    session.recorder.on_trial_error(2, [], trial)
    (record,) = read_trials(plan.folder)
    assert (record.state, record.done) == ("failed", False)
    assert session.status(record) == "FAILED"


def test_what_was_killed_between_the_end_of_a_trial_and_that_of_its_run_is_settled(plan: StudyPlan) -> None:
    session, trial = Session(plan), Trial(0)
    session.recorder.on_trial_start(1, [], trial)
    session.recorder.on_trial_result(2, [], trial, report(0.7, 60, "finished"))
    (record,) = read_trials(plan.folder)
    assert (record.state, session.status(record)) == ("finished", "RUNNING")
    session.begin(plan).settle()
    assert session.status(record) == "FINISHED"


def test_an_interrupted_trial_goes_on_in_its_own_run(plan: StudyPlan) -> None:
    session, trial = Session(plan), Trial(0)
    session.recorder.on_trial_start(1, [], trial)
    session.recorder.on_trial_result(2, [], trial, report(0.3, 7, "running"))
    session.recorder.interrupted()
    (record,) = read_trials(plan.folder)
    assert (record.state, session.status(record)) == ("running", "KILLED")
    again = session.begin(plan)
    again.on_trial_start(1, [], trial)
    again.on_trial_result(2, [], trial, report(0.7, 60, "finished"))
    again.on_trial_complete(3, [], trial)
    (ended,) = read_trials(plan.folder)
    assert (ended.run_id, ended.state, session.status(ended)) == (record.run_id, "finished", "FINISHED")


def test_runs_that_nobody_wrote_down_are_removed(plan: StudyPlan) -> None:
    session = Session(plan)
    orphan = session.tracker.start_run("mine-0005", parent_id=session.parent.id)
    kept = session.tracker.start_run("mine-0004", parent_id=session.parent.id)
    session.tracker.forget_children(session.parent.id, {str(kept.id)})
    client: Any = session.tracker
    assert client._client.get_run(orphan.id).info.lifecycle_stage == "deleted"
    assert client._client.get_run(kept.id).info.lifecycle_stage == "active"


def test_a_trial_whose_process_was_lost_before_it_began_is_taken_up_again(plan: StudyPlan) -> None:
    """Tune ends such a trial without another try, and without telling that it began."""
    session, trial = Session(plan), Trial(4)
    session.recorder.on_trial_error(1, [], trial)
    assert session.recorder.unstarted == {"mine": 1}
    record = read_trials(plan.folder)[0]
    assert (record.number, record.state, record.sample, record.run_id) == (4, "running", SAMPLE, None)
    session.recorder.on_trial_start(2, [], trial)  # of the round that follows
    session.recorder.on_trial_result(3, [], trial, report(0.7, 60, "finished"))
    session.recorder.on_trial_complete(4, [], trial)
    assert session.recorder.records[4].done
    assert session.status(session.recorder.records[4]) == "FINISHED"


def test_the_search_runs_such_a_trial_in_another_round(
    plan: StudyPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, rounds = Session(plan), []
    study = Study(plan.search, plan.folder, 2, [])

    def tune(studies: Any, plans: Any, wanted: Any, records: Any, recorder: Recorder, *more: Any) -> None:
        rounds.append((dict(wanted), [record.number for record in records if record.state == "running"]))
        for number in range(2) if len(rounds) == 1 else [1]:
            if number == 1 and len(rounds) < 3:
                recorder.on_trial_error(1, [], Trial(1))
                continue
            recorder.on_trial_start(1, [], Trial(number))
            recorder.on_trial_result(2, [], Trial(number), report(0.7, 60, "finished"))
            recorder.on_trial_complete(3, [], Trial(number))

    monkeypatch.setattr("cce_ray.tuning.search.run_tune", tune)
    plans, parents = {"mine": plan}, {"mine": session.parent}
    Seeking(plan.folder, [study], plans, session.tracker, parents, Listener(), 2).search({})
    assert rounds == [({"mine": 2}, []), ({"mine": 1}, [1]), ({"mine": 1}, [1])]
    assert [record.state for record in study.records] == ["finished", "finished"]
