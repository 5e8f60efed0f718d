"""What every registered method must do, found through the registry: train, resume, label new data."""

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import torch

from cce_ray.config import RunConfig, load_config
from cce_ray.data import load_dataset
from cce_ray.methods import METHODS
from cce_ray.runs import Listener, RunSummary, predict_file, run_training
from cce_ray.training import known_labels, load_checkpoint

pytestmark = pytest.mark.slow

EVERY_METHOD = pytest.mark.parametrize("name", sorted(METHODS))


def config(name: str, folder: Path, *more: str) -> RunConfig:
    overrides = [f"method={name}", "model=linear", "data=digits", "data.limit=400", "tracking.enabled=false"]
    overrides += ["optimizer.epochs=3", "optimizer.batch_size=150", "runtime.threads=1", *more]
    overrides += ["runtime.checkpoint_seconds=0", f"output_dir={folder}"]
    if METHODS[name].required_model:
        overrides.remove("model=linear")
    if METHODS[name].needs_known_labels and not any(part.startswith("supervision.") for part in more):
        overrides.append("supervision.ratio=0.1")
    return load_config(None, overrides)[0]


def weights(summary: RunSummary) -> dict[str, torch.Tensor]:
    return torch.load(summary.model, weights_only=True)["state"]


def load_history(summary: RunSummary) -> list[dict[str, float]]:
    return json.loads((Path(summary.output_dir) / "seed_0" / "result.json").read_text())["history"]


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


def blobs(folder: Path) -> list[str]:
    """Four clouds in six dimensions, without labels."""
    generator = np.random.default_rng(0)
    points = np.repeat(5 * generator.normal(size=(4, 6)), 60, 0) + generator.normal(size=(240, 6))
    np.save(folder / "blobs.npy", points.astype(np.float32))
    return ["data=arrays", f"data.path={folder / 'blobs.npy'}", "data.num_clusters=4", "data.limit=240"]


@EVERY_METHOD
def test_embeddings_without_labels(name: str, tmp_path: Path) -> None:
    data = blobs(tmp_path)
    if METHODS[name].needs_known_labels:
        lines = ["id,label", *(f"{row},{row // 60}" for row in range(0, 240, 20))]
        (tmp_path / "known.csv").write_text("\n".join(lines))
        data += [f"supervision.labels_path={tmp_path / 'known.csv'}"]
    if config(name, tmp_path).method.compares_views:
        with pytest.raises(ValueError, match=r"augmentation leaves these embeddings as they are"):
            run_training(config(name, tmp_path / "run", *data))
        data.append("augmentation.noise=0.1")
    summary = run_training(config(name, tmp_path / "run", *data), seeds=2)
    assert summary.scores == {}
    assert 1 <= summary.clusters_used <= 4
    assert (tmp_path / "run" / "report.html").stat().st_size > 0


@EVERY_METHOD
def test_semi_supervised(name: str, tmp_path: Path) -> None:
    """Labels of some points make cluster k class k; who cannot be told says so."""
    told = ["supervision.ratio=0.1", "optimizer.epochs=12", "optimizer.learning_rate=0.01"]
    if METHODS[name].required_model:
        with pytest.raises(ValueError, match=r"^supervision.ratio: method .* cannot be told labels"):
            config(name, tmp_path / "run", *told)
        return
    settings = config(name, tmp_path / "run", *told)
    summary = run_training(settings)
    probs = np.load(Path(summary.output_dir) / "seed_0" / "clusters.npy")
    dataset = load_dataset(settings.data)
    known = known_labels(settings.resolved(), dataset)
    assert known is not None and (known >= 0).sum() == 40
    assert dataset.labels is not None
    assert (probs == dataset.labels).mean() > 0.5, "without matching: cluster k is class k"
    assert load_history(summary)[-1]["loss/supervised"] < load_history(summary)[0]["loss/supervised"]
