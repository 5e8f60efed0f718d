"""The MLflow tracker. Only explicit clients: MLflow's active run and global URI stay the user's."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from cce_ray.tracking.base import ModelOptions, NullRun, RunOptions, Status, TrackedRun
from cce_ray.tracking.location import check, locate, single_process, without_password
from cce_ray.tracking.quiet import quiet
from cce_ray.tracking.tracking_settings import TrackingSettings

# Read by MLflow when it is imported or called. A clustering run reports to its owner alone, and a server that
# dies during training must not hold it up for the minutes of seven retries. The user's own values win.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

_logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_ATTEMPTS = 30.0  # a dead server costs seconds a call, more than many an epoch
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # no agent with LLM traces
_MOST_RUNS = 50_000  # what MLflow gives at once
_LONGEST_PARAM, _LONGEST_TAG, _PARAMS_PER_CALL, _METRICS_PER_CALL = 6000, 5000, 100, 1000


class MLflowTracker:
    """Runs of one experiment in one MLflow store.

    Raises ValueError if the store cannot be reached or opened, or the experiment was deleted.
    """

    def __init__(self, settings: TrackingSettings, output_dir: Path) -> None:
        place = locate(settings.uri, output_dir)
        check(place)
        self.location: str | None = place.shown
        self.ui: str | None = place.ui
        self.page: str | None = None
        self._register_model = settings.register_model
        self._opened_before = False
        try:
            with single_process(place), quiet():
                registry = os.environ.get("MLFLOW_REGISTRY_URI") or place.uri
                self._client = MlflowClient(place.uri, registry_uri=registry)
                self._experiment_id = _experiment(self._client, settings.experiment, place.artifacts)
                self.page = place.page(self._experiment_id)
        except ValueError:
            raise
        except Exception as error:  # MLflow lets those of SQLAlchemy, alembic and database drivers through
            raise ValueError(
                f"tracking.uri: MLflow cannot use {place.shown} ({_one_line(error)});"
                " correct tracking.uri, or set tracking.enabled=false"
            ) from error

    def start_run(self, name: str, **options: Unpack[RunOptions]) -> TrackedRun:
        """Open or continue a run; ValueError if the store refuses the first, a warning and no run later."""
        tags, run_id = dict(options.get("tags", {})), options.get("run_id")
        if parent_id := options.get("parent_id"):
            tags["mlflow.parentRunId"] = parent_id
        try:
            with quiet():
                run = self._existing(run_id) if run_id else None
                if run is None:  # with its tags: a process killed here leaves a run that its parent knows
                    run = self._client.create_run(self._experiment_id, run_name=name, tags=tags)
                self._describe(run, options.get("params", {}), tags)
                opened = MLflowRun(self._client, run, self._register_model)
        except (MlflowException, OSError) as error:
            if self._opened_before:  # an outage: what was trained is worth more than its log
                _logger.warning("MLflow could not take run %s: %s", name, _one_line(error))
                return NullRun()
            raise ValueError(
                f"tracking.uri: MLflow cannot open a run in {self.location} ({_one_line(error)});"
                " see to its store, or set tracking.enabled=false"
            ) from error
        self._opened_before = True
        return opened

    def forget_children(self, parent_id: str | None, kept: Collection[str]) -> None:
        """Delete the runs below a run that nobody knows."""
        if parent_id is None:
            return
        below = f"tags.`mlflow.parentRunId` = '{parent_id}'"
        try:
            for run in self._client.search_runs([self._experiment_id], below, max_results=_MOST_RUNS):
                if run.info.run_id not in kept:
                    self._client.delete_run(run.info.run_id)
        except (MlflowException, OSError) as error:
            _logger.warning(
                "MLflow could not look through the runs below %s: %s", parent_id, _one_line(error)
            )

    def _existing(self, run_id: str) -> Any:
        """The run to continue, set running again; None if it is gone."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            run = None
        if run is None or run.info.lifecycle_stage != "active":
            _logger.warning("MLflow run %s is gone from %s: a new run goes on", run_id, self.location)
            return None
        self._client.update_run(run_id, status="RUNNING")
        return run

    def _describe(self, run: Any, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Log parameters and tags. MLflow never changes a parameter: a continued run keeps those it has."""
        new = [Param(key, _text(value)) for key, value in params.items() if key not in run.data.params]
        entries = [RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()]
        for start in range(0, max(len(new), 1), _PARAMS_PER_CALL):
            chunk = new[start : start + _PARAMS_PER_CALL]
            self._client.log_batch(run.info.run_id, params=chunk, tags=entries if start == 0 else [])


class MLflowRun:
    """One MLflow run. After an outage metrics are kept and sent with the next ones."""

    def __init__(self, client: MlflowClient, run: Any, register_model: str | None) -> None:
        self.id: str | None = run.info.run_id
        self._client = client
        self._run = run
        self._register_model = register_model
        self._pending: list[Metric] = []
        self._next_attempt = 0.0
        self._warned: set[str] = set()
        self._logged: defaultdict[str, set[int]] = defaultdict(set)
        for key in run.data.metrics:
            self._logged[key] = {metric.step for metric in client.get_metric_history(self.id, key)}

    def log_metrics(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Log one step in one call; what the run already holds for that step stays as it is."""
        now = int(time.time() * 1000)
        for key, value in metrics.items():
            if value is not None and step not in self._logged[key]:
                self._logged[key].add(step)
                self._pending.append(Metric(key, float(value), now, step))
        if time.monotonic() >= self._next_attempt:
            self._send()

    def log_artifacts(self, paths: Iterable[Path], folder: str = "") -> None:
        """Copy files below ``folder``."""
        with self._tolerating("artifacts"):
            for path in paths:
                self._client.log_artifact(self.id, str(path), folder or None)

    def log_model(self, path: Path, **options: Unpack[ModelOptions]) -> str | None:
        """Log (and register) the model file; returns models:/..., or None after an outage."""
        from cce_ray.tracking.mlflow_saving import log_model

        options["register_as"] = options.get("register_as") or self._register_model
        with self._tolerating("the model"):
            return log_model(self._client, self._run, path, **options)
        return None

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set them in one call."""
        with self._tolerating("tags"):
            entries = [RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()]
            self._client.log_batch(self.id, tags=entries)

    def finish(self, status: Status = "FINISHED") -> None:
        """Send what is pending and set the status."""
        self._send()
        with self._tolerating("the end of the run"):
            self._client.set_terminated(self.id, status)

    def _send(self) -> None:
        with self._tolerating("metrics"):
            self._next_attempt = time.monotonic() + _SECONDS_BETWEEN_ATTEMPTS
            while self._pending:
                self._client.log_batch(self.id, metrics=self._pending[:_METRICS_PER_CALL])
                del self._pending[:_METRICS_PER_CALL]
            self._next_attempt = 0.0

    @contextmanager
    def _tolerating(self, what: str) -> Iterator[None]:
        """Turn an outage of the store into one warning: hours of training are worth more than their log."""
        try:
            with quiet():
                yield
        except (MlflowException, OSError) as error:
            if what not in self._warned:
                self._warned.add(what)
                _logger.warning("MLflow could not take %s: %s", what, _one_line(error))


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The experiment's id; made if absent, also when another process makes it at the same moment."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts, tags=_EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage != "active":
        raise ValueError(
            f"tracking.experiment: {name!r} was deleted in MLflow; restore it"
            f" (mlflow experiments restore --experiment-id {experiment.experiment_id}) or choose another name"
        )
    return str(experiment.experiment_id)


def _text(value: object) -> str:
    """A parameter's value as it is written in YAML and in --set, within MLflow's limit, no password in it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = without_password(text)
    return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 1] + "…"


def _one_line(error: BaseException) -> str:
    lines = [
        line for line in str(error).strip().splitlines() if not line.startswith("(raised as a result of")
    ]
    return lines[0][:200] if lines else type(error).__name__
