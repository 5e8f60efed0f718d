"""What the searcher knows and does, without a cluster: its knowledge is the records."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

from cce_ray.tuning import Search, load_search
from cce_ray.tuning.asha import ASHAInTurn
from cce_ray.tuning.optuna_searcher import SearchInTurn, make_study
from cce_ray.tuning.records import TrialRecord

SPACE = {
    "method.fairness_weight": {"low": 1.0, "high": 100.0, "log": True},
    "optimizer.name": {"choices": ["adam", "sgd"]},
    "optimizer.momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer.name": "sgd"}},
}
START = {"method.fairness_weight": 50.0, "optimizer.name": "adam"}


def make(tmp_path: Path, name: str = "mine", **values: Any) -> Search:
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"run": "digits", "space": SPACE, "start": [START], **values}))
    return load_search(str(path))


def played(
    search: Search, count: int, records: Sequence[TrialRecord] = (), seed: int = 0
) -> list[dict[str, Any]]:
    """The samples that a search asks for one after the other, each with a value that likes λ = 20."""
    name = search.settings.name
    searcher = SearchInTurn({name: search}, records, {name: count}, seed)
    found = []
    while (wanted := searcher.suggest(f"t{len(found)}")) != SearchInTurn.FINISHED:
        found.append(wanted)
        value = -abs(wanted["sample"]["method.fairness_weight"] - 20)
        searcher.on_trial_complete(f"t{len(found) - 1}", {"value": value, "training_iteration": 1})
    return found


def test_the_starting_samples_come_first_and_the_numbers_count_up(tmp_path: Path) -> None:
    found = played(make(tmp_path), 5)
    assert found[0] == {"study": "mine", "number": 0, "sample": START}
    assert [one["number"] for one in found] == [0, 1, 2, 3, 4]


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    search = make(tmp_path)
    assert played(search, 15) == played(search, 15)
    assert played(search, 15) != played(search, 15, seed=1)


def test_it_learns(tmp_path: Path) -> None:
    early, late = [], []
    for seed in range(4):
        found = [one["sample"]["method.fairness_weight"] for one in played(make(tmp_path), 40, seed=seed)]
        early += [abs(value - 20) for value in found[1:9]]
        late += [abs(value - 20) for value in found[-15:]]
    assert median(late) < 0.7 * median(early)


def records() -> list[TrialRecord]:
    done = [
        TrialRecord(
            number,
            "mine",
            {"method.fairness_weight": 18.0 + number, "optimizer.name": "adam"},
            "finished",
            0.5,
            9,
        )
        for number in range(10)
    ]
    sgd = {"method.fairness_weight": 3.0, "optimizer.name": "sgd", "optimizer.momentum": 0.5}
    return [*done, TrialRecord(10, "mine", sgd, "running"), TrialRecord(11, "mine", sgd, "failed")]


def test_a_resumed_search_begins_with_what_was_interrupted_under_its_old_number(tmp_path: Path) -> None:
    found = played(make(tmp_path), 4, records())
    interrupted = records()[10]
    assert found[0] == {"study": "mine", "number": 10, "sample": interrupted.sample}
    assert found[1]["sample"] == START  # was never tried
    assert [one["number"] for one in found[1:]] == [12, 13, 14]


def test_a_resumed_search_knows_the_done_trials_and_only_these(tmp_path: Path) -> None:
    study = make_study(make(tmp_path), records())
    assert [trial.user_attrs["number"] for trial in study.trials] == list(range(10))
    assert study.best_value == 0.5


def test_several_searches_take_turns_by_what_is_left_to_each(tmp_path: Path) -> None:
    one, two = make(tmp_path, "one"), make(tmp_path, "two")
    searcher = SearchInTurn({"one": one, "two": two}, [], {"one": 2, "two": 4}, 0)
    order = [searcher.suggest(f"t{number}")["study"] for number in range(6)]
    assert order.count("one") == 2
    assert order.count("two") == 4
    assert order[:2] == ["two", "two"]
    assert set(order[2:4]) == {"one", "two"}
    assert searcher.suggest("t6") == SearchInTurn.FINISHED


class Trial:
    """The part of Tune's trial that a scheduler looks at."""

    def __init__(self, number: int, study: str = "mine") -> None:
        self.trial_id, self.config = f"trial-{number}", {"study": study, "number": number}


def decide(scheduler: ASHAInTurn, trial: Trial, value: float, epoch: int = 9) -> str:
    result = {"epoch": epoch, "value": value, "state": "running"}
    return scheduler.on_trial_result(None, trial, result)


@pytest.mark.parametrize("recalled", [False, True])
def test_a_resumed_search_compares_with_the_trials_before_it(tmp_path: Path, recalled: bool) -> None:
    search = make(tmp_path, scheduler={"grace_epochs": 9, "reduction_factor": 3})
    known = [
        TrialRecord(number, "mine", START, "finished", 0.8, 60, judged=[(9, 0.8), (27, 0.8)])
        for number in range(5)
    ]
    scheduler = ASHAInTurn({"mine": search.settings.scheduler}, {"mine": 60}, known if recalled else [])
    trial = Trial(7)
    scheduler.on_trial_add(None, trial)
    assert decide(scheduler, trial, 0.2) == (scheduler.STOP if recalled else scheduler.CONTINUE)


def test_trials_of_different_searches_are_never_compared(tmp_path: Path) -> None:
    settings = make(tmp_path, scheduler={"grace_epochs": 9, "reduction_factor": 3}).settings.scheduler
    scheduler = ASHAInTurn({"one": settings, "two": settings}, {"one": 60, "two": 60})
    for number in range(5):
        trial = Trial(number, "one")
        scheduler.on_trial_add(None, trial)
        decide(scheduler, trial, 0.9)
    other = Trial(9, "two")
    scheduler.on_trial_add(None, other)
    assert decide(scheduler, other, 0.1) == scheduler.CONTINUE
    worse = Trial(10, "one")
    scheduler.on_trial_add(None, worse)
    assert decide(scheduler, worse, 0.1) == scheduler.STOP
