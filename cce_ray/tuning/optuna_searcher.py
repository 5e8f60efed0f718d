"""Where Tune's samples come from: Optuna's TPE, a study each search, rebuilt from the records."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import optuna
from optuna.trial import TrialState, create_trial
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cce_ray.tuning.records import TrialRecord
from cce_ray.tuning.search_settings import Search
from cce_ray.tuning.space import distributions

METRIC = "value"
optuna.logging.set_verbosity(optuna.logging.WARNING)
_NUMBER = "trial number"
_STARTUP_TRIALS = 8
"""Samples drawn at random before the model of good and bad ones begins."""


def _good_trials(count: int) -> int:
    """How many of `count` trials the model takes for good ones: a quarter.

    Optuna's default, a tenth, leaves three or four within a budget of forty, from which it learns little: on
    a noisy test function with a conditional setting (16 seeds, 40 trials, deviation in log units) the last 15
    samples were off by 1.2 with a tenth and 0.6 with a quarter.
    """
    return max(3, count // 4)


def make_study(search: Search, records: Iterable[TrialRecord]) -> optuna.Study:
    """An Optuna study in memory that knows the done trials."""
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(), study_name=search.settings.name, direction="maximize"
    )
    for record in records:
        if record.done:
            study.add_trial(_as_optuna(search, record))
    return study


def _make_searcher(search: Search, records: Iterable[TrialRecord], seed: int) -> OptunaSearch:
    """Tune's Optuna searcher. It knows the done trials, and tries first what was interrupted, then the
    starting samples that were not tried yet."""
    known = list(records)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=search.settings.name, direction="maximize")
    study.add_trials(make_study(search, known).trials)
    for record in known:
        if record.state == "running":
            study.enqueue_trial(record.sample, user_attrs={"number": record.number})
    tried = [record.sample for record in known]
    for sample in search.start:
        if sample not in tried:
            study.enqueue_trial(sample)

    def space(trial: Any) -> dict[str, Any]:
        search.draw(trial)  # OptunaSearch takes down what is drawn
        return {_NUMBER: trial.user_attrs.get("number")}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
        warnings.simplefilter("ignore", FutureWarning)  # gamma, there until Optuna 6
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            n_startup_trials=_STARTUP_TRIALS,
            gamma=_good_trials,
            seed=seed + len(known),  # of a resumed search not the same samples again
        )
    return OptunaSearch(
        space, metric=METRIC, mode="max", study_name=study.study_name, storage=storage, sampler=sampler
    )


def _as_optuna(search: Search, record: TrialRecord) -> optuna.trial.FrozenTrial:
    """A done trial as Optuna knows it."""
    return create_trial(
        state=TrialState.COMPLETE,
        value=record.value,
        params=record.sample,
        distributions=distributions(search.settings.space, search.kinds, record.sample),
        intermediate_values=dict(record.judged),
        user_attrs={"number": record.number, "state": record.state},
    )


@final
class SearchInTurn(Searcher):  # type: ignore[misc]
    """Several searches that share the cluster: each new trial belongs to the next one that still wants one.

    A trial's configuration is {"study": name, "number": its number, "sample": {dotted key: value}}.
    """

    def __init__(
        self,
        searches: Mapping[str, Search],
        records: Sequence[TrialRecord],
        wanted: Mapping[str, int],
        seed: int,
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._left = dict(wanted)
        self._next = 1 + max((record.number for record in records), default=-1)
        self._of: dict[str, str] = {}
        self._optuna = {
            name: _make_searcher(search, [record for record in records if record.study == name], seed)
            for name, search in searches.items()
        }

    def suggest(self, trial_id: str) -> Any:
        """The next configuration; `FINISHED` when no search wants another trial."""
        waiting = [name for name, left in self._left.items() if left > 0]
        if not waiting:
            return Searcher.FINISHED
        # In turn: the one that has had the smallest part of what it wants.
        name = max(waiting, key=lambda name: self._left[name])
        self._left[name] -= 1
        self._of[trial_id] = name
        sample = dict(self._optuna[name].suggest(trial_id))
        number = sample.pop(_NUMBER)
        if number is None:
            number, self._next = self._next, self._next + 1
        return {"study": name, "number": number, "sample": sample}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on."""
        self._optuna[self._of[trial_id]].on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on; a trial that was lost does not count, and another one takes its place."""
        name = self._of[trial_id]
        self._optuna[name].on_trial_complete(trial_id, result, error)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a pickle of its searcher, and the records know it all."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records know it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the records know it."""
