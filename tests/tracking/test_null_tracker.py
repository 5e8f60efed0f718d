"""Tracking switched off or impossible."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cce_ray.tracking import NullTracker, TrackingSettings, make_tracker
from cce_ray.tracking.environment import environment_tags


def test_switched_off_leaves_no_trace(tmp_path: Path) -> None:
    tracker = make_tracker(TrackingSettings(enabled=False, uri="./refused-otherwise"), tmp_path / "out")
    assert isinstance(tracker, NullTracker)
    run = tracker.start_run("seed-0", params={"method.name": "cce_plus"}, run_id="gone")
    run.log_metrics({"loss/total": 1.0}, 0)
    run.log_artifacts([tmp_path / "absent.png"])
    assert run.log_model(tmp_path / "model.pt", input_example=np.zeros((1, 2)), num_clusters=2) is None
    run.finish("FAILED")
    assert run.id is None and tracker.location is None and tracker.ui is None
    assert list(tmp_path.iterdir()) == []


def test_without_mlflow_one_warning_and_no_tracking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "cce_ray.tracking.mlflow_tracker", raising=False)
    with caplog.at_level(logging.WARNING):
        assert isinstance(make_tracker(TrackingSettings(), tmp_path), NullTracker)
    assert [record.message for record in caplog.records] == [
        "mlflow is not installed: nothing is tracked (pip install mlflow)"
    ]


def test_settings_refuse_what_mlflow_would() -> None:
    for wrong in ({"experiment": ""}, {"register_model": "a/b"}, {"register_model": ""}, {"tracking": True}):
        with pytest.raises(ValidationError):
            TrackingSettings.model_validate(wrong)


def test_environment_tags_say_what_ran_where() -> None:
    tags = environment_tags("cpu")
    assert tags["device"] == "cpu"
    assert tags["command"].startswith(tags["mlflow.source.name"])
    assert tags["torch"] and tags["python"] and int(tags["cpu_count"]) >= 1
    assert all(isinstance(value, str) for value in tags.values())
    if (Path(__file__).parents[2] / ".git").exists():
        assert len(tags["mlflow.source.git.commit"]) == 40
