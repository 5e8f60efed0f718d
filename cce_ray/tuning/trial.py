"""What a trial does, in a process of Ray Tune's: train the sample's run, and report when it is compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.distributed import code_version
from cce_ray.tuning.judging import VALUE, TrialJudge, criteria_of
from cce_ray.tuning.objectives import collapsed, worst
from cce_ray.tuning.records import trial_folder
from cce_ray.tuning.search_settings import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cce_ray.runs import SeedResult

_HOPELESS_SHARE = 1 / 3
"""A trial that is collapsed after this share of its epochs is stopped."""


@dataclass(frozen=True)
class StudyPlan:
    """All that the trials of one search share; travels through the object store, once a node."""

    search: Search
    dataset: Dataset
    judge: TrialJudge
    folder: Path
    """The study's, on the driver's node, and wherever else it is mounted."""
    version: str
    also: tuple[StudyPlan, ...] = ()
    """In a joint search: the other data sets that every sample is trained on."""
    scale: tuple[float, float] = (0.0, 1.0)
    """In a joint search: the values of the criterion that count as 0 and 1 on this data set."""

    @property
    def parts(self) -> tuple[StudyPlan, ...]:
        """One plan a data set; just this one if the search is not joint."""
        return (self, *self.also)

    @property
    def name(self) -> str:
        """Of the data set's search."""
        return self.search.settings.name

    def scaled(self, value: float) -> float:
        """A value of the criterion on this data set's fixed scale."""
        low, high = self.scale
        return (value - low) / (high - low)

    def config(self, sample: Mapping[str, Any]) -> RunConfig:
        """The run of a sample."""
        return self.search.config(sample)


class Hopeless(Exception):
    """The trial has collapsed and ends."""


class Stopped(Exception):
    """The scheduler has told the trial to end."""


def run_trial(config: dict[str, Any], plans: Mapping[str, StudyPlan], stop_list: Any = None) -> None:
    """Ray Tune's function: train one sample and report at every judged epoch.

    A report is {"value", "epoch", "state", "history", "criteria", "seconds"}; the value is finite whatever
    happens. What the driver must know travels in reports, so that trials need no shared folder; where there
    is one, a trial that was lost goes on from its checkpoint.
    """
    from ray import tune

    plan = plans[config["study"]]
    assert plan.version == code_version(), "the driver checked every node"
    number = config["number"]

    def told_to_stop() -> bool:
        import ray

        return bool(stop_list and ray.get(stop_list.has.remote(number)))

    report = Reporter(plan, tune.report, told_to_stop)
    with _work_folder(plan.folder, number) as folder:
        if plan.also:
            _run_joint_trial(plan, config["sample"], folder, tune.report, told_to_stop)
            return
        try:
            result = train_once(plan.config(config["sample"]), plan, folder, report.epoch, plan.judge)
            report.finished(result)
        except Stopped:
            report.end("stopped", reason="")
        except Hopeless:
            report.end("collapsed", reason="at most half of the clusters were in use")
        except ValueError as error:
            report.end("diverged", reason=str(error))


def _run_joint_trial(
    plan: StudyPlan,
    sample: Mapping[str, Any],
    folder: Path,
    send: Callable[[dict[str, Any]], None],
    told_to_stop: Callable[[], bool],
) -> None:
    """Train a sample on one data set after the other; the value is the mean of the scaled scores so far, and
    an "epoch" of the report is a data set."""
    scores: dict[str, float] = {}
    criteria: dict[str, float] = {}
    for place, part in enumerate(plan.parts, start=1):
        value, found = worst(part.judge.criterion), {}
        try:
            result = train_once(part.config(sample), part, folder / part.name, ignore, part.judge.at_end())
            value, found = result.history[-1][VALUE], criteria_of(result.history[-1])
        except ValueError:
            pass  # diverged on this data set: the worst value there
        scores[part.name] = part.scaled(value)
        criteria = criteria or found
        metrics = {f"joint/{part.name}": scores[part.name]}
        metrics |= {f"{part.name}/{name}": one for name, one in found.items()}
        last = place == len(plan.parts)
        report = {"value": fmean(scores.values()), "epoch": place, "history": [(place, metrics)]}
        send(report | {"state": "finished" if last else "running", "criteria": criteria, "scores": scores})
        if not last and told_to_stop():
            send(report | {"state": "stopped", "criteria": criteria, "scores": scores})
            return


def ignore(*_: Any) -> None:
    """Nobody watches."""


class Reporter:
    """Gathers epochs, and reports the judged ones."""

    def __init__(
        self,
        plan: StudyPlan,
        send: Callable[[dict[str, Any]], None],
        told_to_stop: Callable[[], bool],
    ) -> None:
        self._plan, self._send, self._told_to_stop = plan, send, told_to_stop
        self._history: list[tuple[int, dict[str, float]]] = []
        self._last: dict[str, Any] = {
            "value": worst(plan.judge.criterion),
            "epoch": 0,
            "criteria": {},
        }

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch is done. Raises Hopeless for a collapse, Stopped if told so."""
        self._history.append((epoch, dict(metrics)))
        if VALUE not in metrics:
            return
        self._take(epoch, metrics)
        epochs = self._plan.judge.epochs[-1]
        if epoch == epochs:
            return  # the result follows
        if collapsed(self._last["criteria"]) and epoch >= _HOPELESS_SHARE * epochs:
            raise Hopeless
        self._report("running")
        if self._told_to_stop():
            raise Stopped

    def _take(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._last = {"value": metrics[VALUE], "epoch": epoch, "criteria": criteria_of(metrics)}

    def finished(self, result: SeedResult) -> None:
        """The trial has come to its end; all its epochs are sent, for some of a resumed one may be new."""
        self._history = list(enumerate(result.history, start=1))
        self._take(*self._history[-1])
        self._report("finished", seconds=result.seconds)

    def end(self, state: str, reason: str) -> None:
        """The trial is over before its end."""
        if state == "diverged":
            self._last["value"] = worst(self._plan.judge.criterion)
            self._last["epoch"] = max(1, self._last["epoch"])
        self._report(state, reason=reason)

    def _report(self, state: str, **more: Any) -> None:
        history, self._history = self._history, []
        self._send(self._last | {"state": state, "history": history} | more)


def train_once(
    config: RunConfig,
    plan: StudyPlan,
    folder: Path,
    on_epoch: Callable[[int, Mapping[str, float]], None],
    judge: TrialJudge | None,
) -> SeedResult:
    """One seed in this process, or on Ray Train's workers if the run asks for them."""
    from cce_ray.runs import InProcess, Listener, SeedJob, SeedRunner

    runner: SeedRunner = InProcess()
    if config.runtime.workers:
        from cce_ray.distributed import nested

        runner = nested()
    folder.mkdir(parents=True, exist_ok=True)
    job = SeedJob(config, plan.dataset, folder, True, None, Listener(), on_epoch, judge)
    return runner.train(job)


@contextmanager
def _work_folder(study: Path, number: int) -> Iterator[Path]:
    """The trial's own folder where this node sees the study's, else a temporary one."""
    if study.is_dir():
        folder = trial_folder(study, number)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cce_ray-") as folder_name:
        yield Path(folder_name)
