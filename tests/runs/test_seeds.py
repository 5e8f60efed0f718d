"""Runs of several seeds: what a resumption with more of them, or with others, does."""

from pathlib import Path

import pytest

from cce_ray.config import RunConfig, load_config
from cce_ray.runs import run_training


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
