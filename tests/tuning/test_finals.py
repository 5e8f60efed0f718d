"""Who takes part in the last round."""

from pathlib import Path

import pytest

from cce_ray.tuning.finals import candidates
from cce_ray.tuning.records import TrialRecord
from cce_ray.tuning.search_settings import Search, SearchSettings, load_search
from cce_ray.tuning.study import Study

START = {"optimizer.learning_rate": 0.004}


def study(folder: Path, top: int, *records: tuple[float, str, float]) -> Study:
    """A study of which so many take part, and of (learning rate, state, value) of its trials."""
    knob = {"low": 0.001, "high": 0.1, "log": True}
    values = {
        "name": "one",
        "space": {"optimizer.learning_rate": knob},
        "start": [START],
        "final": {"top": top},
    }
    search = Search(SearchSettings.model_validate(values), load_search("digits").base)
    trials = [
        TrialRecord(number, "one", {"optimizer.learning_rate": rate}, state, value)
        for number, (rate, state, value) in enumerate(records)
    ]
    return Study(search, folder, len(trials), trials)


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_the_best_starting_sample_takes_part_however_it_did(state: str, tmp_path: Path) -> None:
    trials = [(0.004, state, 0.1), (0.01, "finished", 0.9), (0.02, "finished", 0.8), (0.03, "stopped", 0.95)]
    assert [one.number for one in candidates(study(tmp_path, 2, *trials))] == [1, 0]
    assert [one.number for one in candidates(study(tmp_path, 1, *trials))] == [1]
    assert [one.number for one in candidates(study(tmp_path, 0, *trials))] == []


def test_a_diverged_starting_sample_takes_no_place(tmp_path: Path) -> None:
    trials = [(0.004, "diverged", 0.0), (0.01, "finished", 0.9), (0.02, "finished", 0.8)]
    assert [one.number for one in candidates(study(tmp_path, 2, *trials))] == [1, 2]


def test_trials_that_were_stopped_take_part_if_none_was_finished(tmp_path: Path) -> None:
    trials = [(0.01, "stopped", 0.5), (0.02, "collapsed", 0.6), (0.03, "failed", 0.7)]
    assert [one.number for one in candidates(study(tmp_path, 2, *trials))] == [1, 0]
