"""Who is stopped early: ASHA among the trials of each search, with the knowledge of earlier sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, final

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from cce_ray.tuning.optuna_searcher import METRIC
from cce_ray.tuning.records import TrialRecord
from cce_ray.tuning.search_settings import SchedulerSettings


@final
class ASHAInTurn(FIFOScheduler):  # type: ignore[misc]
    """One ASHA a search; trials of different searches are never compared."""

    def __init__(
        self,
        settings: Mapping[str, SchedulerSettings],
        longest: Mapping[str, int],
        records: Iterable[TrialRecord] = (),
        stop_list: Any = None,
    ) -> None:
        """With a stop list trials are told to end instead of being stopped."""
        super().__init__()
        self._stop_list = stop_list
        self._asha = {
            name: ASHAScheduler(
                time_attr="epoch",
                metric=METRIC,
                mode="max",
                max_t=longest[name] + 1,  # trials end by themselves
                grace_period=wanted.grace_epochs,
                reduction_factor=wanted.reduction_factor,
            )
            for name, wanted in settings.items()
            if wanted.name == "asha" and wanted.grace_epochs < longest[name]
        }
        for record in records:
            if record.study in self._asha and record.state != "running":
                self._recall(self._asha[record.study], record)

    @staticmethod
    def _recall(asha: Any, record: TrialRecord) -> None:
        trial = SimpleNamespace(trial_id=f"record-{record.number}")
        asha.on_trial_add(None, trial)
        for epoch, value in record.judged:
            asha.on_trial_result(None, trial, {"epoch": epoch, METRIC: value})

    def _of(self, trial: Any) -> Any:
        return self._asha.get(trial.config["study"])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Pass on."""
        if self._of(trial):
            self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass on; a search without ASHA lets every trial run."""
        if not self._of(trial) or result["state"] != "running":
            return str(self.CONTINUE)
        decision = str(self._of(trial).on_trial_result(tune_controller, trial, result))
        if decision == self.STOP and self._stop_list:
            import ray

            ray.get(self._stop_list.add.remote(trial.config["number"]))
            return str(self.CONTINUE)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass on."""
        if self._of(trial):
            self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Pass on."""
        if self._of(trial):
            self._of(trial).on_trial_remove(tune_controller, trial)

    def debug_string(self) -> str:
        """For Tune's log."""
        return "ASHA in turn"
