"""What every registered method must do, found through the registry: train, resume, label new data."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import torch

from cce_ray.config import RunConfig, load_config
from cce_ray.methods import METHODS
from cce_ray.runs import Listener, RunSummary, predict_file, run_training
from cce_ray.training import load_checkpoint

EVERY_METHOD = pytest.mark.parametrize("name", sorted(METHODS))


def config(name: str, folder: Path, *more: str) -> RunConfig:
    overrides = [f"method={name}", "model=linear", "data=digits", "data.limit=400", "tracking.enabled=false"]
    overrides += ["optimizer.epochs=3", "optimizer.batch_size=150", "runtime.threads=1", *more]
    overrides += ["runtime.checkpoint_seconds=0", f"output_dir={folder}"]
    if METHODS[name].required_model:
        overrides.remove("model=linear")
    return load_config(None, overrides)[0]


def weights(summary: RunSummary) -> dict[str, torch.Tensor]:
    return torch.load(summary.model, weights_only=True)["state"]


class StopAfter(Listener):
    """A run that is interrupted at a step."""

    def __init__(self, step: int) -> None:
        self.last = step

    def step(self, step: int, *_: object) -> None:  # type: ignore[override]
        if step == self.last:
            raise KeyboardInterrupt


@EVERY_METHOD
def test_train_and_predict(name: str, tmp_path: Path) -> None:
    summary = run_training(config(name, tmp_path / "run"))
    assert summary.method == name
    assert 0 < summary.scores["accuracy"] <= 1
    images = np.random.default_rng(0).random((7, 1, 8, 8), np.float32)
    np.save(tmp_path / "new.npy", images)
    output = tmp_path / "labels.csv"
    predict_file(summary.output_dir, str(tmp_path / "new.npy"), output)
    table = pyarrow.csv.read_csv(output)
    assert table.num_rows == 7
    probs = np.stack([table[f"p{k}"].to_numpy() for k in range(10)], 1)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-4)
    assert (table["cluster"].to_numpy() == probs.argmax(1)).all()


@EVERY_METHOD
def test_resume_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = run_training(config(name, tmp_path / "whole"))
    trains = METHODS[name].required_model is None
    if trains:
        with pytest.raises(KeyboardInterrupt):
            run_training(config(name, tmp_path / "cut"), listener=StopAfter(5))
        assert load_checkpoint(tmp_path / "cut" / "seed_0" / "checkpoint.pt")["position"][:2] == [1, 1]
    else:  # nothing to interrupt: what a killed run leaves is its configuration
        (tmp_path / "cut").mkdir()
        (tmp_path / "cut" / "config.yaml").write_text(config(name, tmp_path / "cut").resolved().to_yaml())
    resumed = run_training(config(name, tmp_path / "cut"), resume=True)
    assert resumed.scores == whole.scores
    for key, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[key]), key


@EVERY_METHOD
def test_embeddings_without_labels(name: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    blobs = np.repeat(5 * generator.normal(size=(4, 6)), 60, 0) + generator.normal(size=(240, 6))
    np.save(tmp_path / "blobs.npy", blobs.astype(np.float32))
    data = ["data=arrays", f"data.path={tmp_path / 'blobs.npy'}", "data.num_clusters=4", "data.limit=240"]
    summary = run_training(config(name, tmp_path / "run", *data), seeds=2)
    assert summary.scores == {}
    assert 1 <= summary.clusters_used <= 4
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
