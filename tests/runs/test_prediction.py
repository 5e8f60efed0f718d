"""Labelling new data: read as the training data were, whatever they are called."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from cce_ray.config import load_config
from cce_ray.runs import predict_file, run_training

QUICK = ["optimizer.epochs=1", "optimizer.batch_size=10", "runtime.threads=1", "tracking.enabled=false"]


def trained(folder: Path, *data: str) -> str:
    overrides = [*data, "data.num_clusters=3", *QUICK, f"output_dir={folder}"]
    return run_training(load_config(None, overrides)[0]).output_dir


def write_images(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(folder / f"{number:02}.png")


def test_oblong_images_and_a_folder_called_like_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "known", 30, (12, 20, 3))
    write_images(tmp_path / "2024", 5, (12, 20, 3))
    model = trained(tmp_path / "run", "data=folder", f"data.path={tmp_path / 'known'}")
    predict_file(model, "2024", tmp_path / "labels.csv")
    table = pyarrow.csv.read_csv(tmp_path / "labels.csv")
    assert table["file"].to_pylist() == [f"{number:02}.png" for number in range(5)]
    write_images(tmp_path / "square", 5, (20, 20, 3))
    with pytest.raises(
        ValueError, match=r"samples of shape \(3, 20, 20\), but the model takes \(3, 12, 20\)"
    ):
        predict_file(model, "square", tmp_path / "labels.csv")


def test_images_are_read_with_the_channels_that_the_model_learnt(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((30, 4, 6, 3), np.float32)  # the first axis could be channels
    np.save(tmp_path / "images.npy", images)
    path = f"data.path={tmp_path / 'images.npy'}"
    model = trained(tmp_path / "run", "data=arrays", path, "data.channels=last")
    result = predict_file(model, str(tmp_path / "images.npy"), tmp_path / "labels.parquet")
    assert result["samples"] == 30
