"""The driver's side of the trials: records on disk, tracked runs, progress lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from ray.tune import Callback

from cce_ray.config import flatten
from cce_ray.runs import Listener, run_tags
from cce_ray.tracking import Status, TrackedRun, Tracker
from cce_ray.tuning.records import TrialRecord, best_first, tidy, write_trial
from cce_ray.tuning.trial import StudyPlan

_STATUS: dict[str, Status] = {"running": "KILLED", "failed": "FAILED", "diverged": "FAILED"}
"""How a tracked run ends whose trial is in this state; FINISHED for all others."""


@final
class Recorder(Callback):  # type: ignore[misc]
    """Tune's callback. Each trial has one record and one tracked run, which a resumption continues."""

    def __init__(
        self,
        plans: Mapping[str, StudyPlan],
        records: list[TrialRecord],
        tracker: Tracker,
        parents: Mapping[str, TrackedRun],
        listener: Listener,
        wanted: int,
    ) -> None:
        self._plans, self._tracker, self._parents = plans, tracker, parents
        self._listener, self._wanted = listener, wanted
        self.records = {record.number: record for record in records}
        self._open: dict[int, TrackedRun] = {}
        self.unstarted: Counter[str] = Counter()
        """{study: trials whose process was lost before they began}: Tune does not try these again."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a pickle of its callbacks, which nobody reads."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, perhaps not for the first time."""
        number, study = trial.config["number"], trial.config["study"]
        if number in self._open:  # its process was lost, and it begins again
            return
        record = self.records.get(number) or TrialRecord(number, study, trial.config["sample"])
        record.state, record.closed = "running", False
        plan = self._plans[study]
        config = plan.config(record.sample)
        run = self._tracker.start_run(
            f"{study}-{number:04d}",
            params=flatten(config.to_dict()),
            tags=run_tags(config, plan.dataset) | {"trial": str(number), "study": study},
            parent_id=self._parents[study].id,
            run_id=record.run_id,
        )
        record.run_id = run.id
        self._open[number], self.records[number] = run, record
        write_trial(plan.folder, record)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A judged epoch, or the end."""
        record = self.records[trial.config["number"]]
        run = self._open[record.number]
        for epoch, metrics in result["history"]:
            run.log_metrics(metrics, step=epoch)
        record.value, record.epochs = result["value"], result["epoch"]
        record.criteria, record.scores = result["criteria"], result.get("scores", {})
        record.seconds += result["time_this_iter_s"]
        if not record.judged or record.judged[-1][0] < record.epochs:
            record.judged.append((record.epochs, result["value"]))
        if result["state"] != "running":
            record.state, record.reason = result["state"], result.get("reason", "")
        # Only the driver's own state counts as done, so that a kill between the two repeats nothing.
        write_trial(self._plans[record.study].folder, record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial ended by itself, or the scheduler has stopped it."""
        record = self.records[trial.config["number"]]
        if record.state == "running":
            record.state, record.reason = "stopped", f"behind others after {record.epochs} epochs"
        self._close(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process was lost too often, or failed; or was lost before the trial began in it."""
        number, study = trial.config["number"], trial.config["study"]
        if number not in self._open:
            record = self.records.setdefault(number, TrialRecord(number, study, trial.config["sample"]))
            write_trial(self._plans[study].folder, record)
            self.unstarted[study] += 1
            return
        record = self.records[number]
        record.state = "failed"
        lines = str(trial.error_file and Path(trial.error_file).read_text(errors="replace")).strip()
        record.reason = lines.splitlines()[-1][:200] if lines else "lost"
        self._close(record)

    def settle(self) -> None:
        """End the tracked runs of trials that were over when an earlier session was killed."""
        for record in self.records.values():
            if record.state != "running" and not record.closed:
                self._open[record.number] = self._tracker.start_run(
                    f"{record.study}-{record.number:04d}", run_id=record.run_id
                )
                self._close(record)

    def interrupted(self) -> None:
        """No trial goes on: tracked runs that are open end as killed, to be continued on resumption."""
        for run in self._open.values():
            run.finish("KILLED")
        self._open.clear()

    def _close(self, record: TrialRecord) -> None:
        run = self._open.pop(record.number)
        if record.value is not None:
            run.log_metrics({"objective/final": record.value}, step=record.epochs)
        run.finish(_STATUS.get(record.state, "FINISHED"))
        record.closed = True
        write_trial(self._plans[record.study].folder, record)
        if record.done:
            tidy(self._plans[record.study].folder, record.number)
        done = [one for one in self.records.values() if one.done]
        best = best_first(done)
        value = "-" if record.value is None else f"{record.value:.4f}"
        self._listener.note(
            f"{record.study} trial {record.number}: {record.state} at epoch {record.epochs}, {value}"
            + (f" ({record.reason})" if record.reason and record.state != "stopped" else "")
            + (f"; {len(done)} of {self._wanted} done, best {best[0].value:.4f}" if best else "")
        )
