"""Runs of several seeds: what a resumption with more of them, or with others, does."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from cce_ray.config import RunConfig, load_config
from cce_ray.runs import Listener, run_training


def linear_digits(folder: Path, *more: str) -> RunConfig:
    overrides = ["data=digits", "data.limit=300", "model=linear", "optimizer.epochs=2"]
    overrides += ["optimizer.batch_size=100", "runtime.threads=1", f"output_dir={folder}"]
    return load_config(None, [*overrides, *more])[0]


def test_more_seeds_bring_the_means_of_the_run_above_them_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = linear_digits(tmp_path / "run")
    two = run_training(config, seeds=2)
    three = run_training(config, seeds=3, resume=True)
    assert three.parent_run_id == two.parent_run_id
    assert three.run_ids[:2] == two.run_ids
    assert three.scores_per_seed["accuracy"][:2] == two.scores_per_seed["accuracy"]
    client = mlflow.MlflowClient(three.tracking_uri)
    history = client.get_metric_history(three.parent_run_id, "score/accuracy")
    means = {metric.step: metric.value for metric in history}
    assert means == {2: pytest.approx(two.scores["accuracy"]), 3: pytest.approx(three.scores["accuracy"])}


def test_other_seeds_are_another_run(tmp_path: Path) -> None:
    run_training(linear_digits(tmp_path / "run", "tracking.enabled=false"))
    other = linear_digits(tmp_path / "run", "tracking.enabled=false", "runtime.seed=5")
    with pytest.raises(ValueError, match=r"runtime\.seed: 5, but the run in .* has 0"):
        run_training(other, resume=True)


class Obstructive(Listener):
    """Puts a folder where the kept model would go, as a disk that fails after the training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        (self.folder / "model.pt" / "full").mkdir(parents=True, exist_ok=True)


def test_no_tracked_run_stays_open_when_keeping_the_model_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "run"
    with pytest.raises(OSError):
        run_training(linear_digits(folder), listener=Obstructive(folder))
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run_id = (folder / "seed_0" / "run_id.txt").read_text()
    assert client.get_run(run_id).info.status == "FINISHED"
    (folder / "model.pt" / "full").rmdir()
    (folder / "model.pt").rmdir()
    summary = run_training(linear_digits(folder), resume=True)
    assert summary.run_ids == [run_id]
    assert {"report.html", "clusters.csv"} <= {file.path for file in client.list_artifacts(run_id)}
    assert client.get_run(run_id).info.status == "FINISHED"
