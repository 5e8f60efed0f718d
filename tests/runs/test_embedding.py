"""`cce embed`: a file of features that `data=arrays` reads, in order, with ids and labels."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cce_ray.config import load_config
from cce_ray.data import Dataset, load_dataset
from cce_ray.models import load_classifier
from cce_ray.models.pretrained import load_pretrained
from cce_ray.runs import Listener, embed_file, run_training
from cce_ray.runs import embedding as module_of_embedding

RANDOM: dict[str, Any] = {"backbone": "resnet18", "weights": "random", "image_size": 32, "device": "cpu"}


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    warn = note


def stored(path: Path) -> np.ndarray:
    """The features of a file, by pyarrow alone."""
    return np.array(pq.read_table(path)["features"].to_pylist(), np.float32)


def read_back(path: Path, *more: str) -> Dataset:
    settings = ["data=arrays", f"data.path={path}", *more]
    return load_dataset(load_config(None, settings)[0].data)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """12 images of many sizes and modes in two sub-folders, and a file that is none."""
    generator = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "photos" / ("dog", "cat")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shape = (30 + number, 50 - number, 3) if number % 3 else (40, 40)
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(folder / f"{number:02}.png")
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def test_a_folder_keeps_its_files_and_labels_in_order(photos: Path, tmp_path: Path) -> None:
    output, listener = tmp_path / "features.parquet", Told()
    summary = embed_file(str(photos), output, **RANDOM, batch_size=5, listener=listener)
    table = pq.read_table(output)
    files = [f"cat/{n:02}.png" for n in range(1, 12, 2)] + [f"dog/{n:02}.png" for n in range(0, 12, 2)]
    assert table["file"].to_pylist() == files
    assert table["id"].to_pylist() == [place for place in range(13) if place != 6]  # 6 is unreadable
    assert table["labels"].to_pylist() == ["cat"] * 6 + ["dog"] * 6
    assert (summary["samples"], summary["features"], summary["labelled"]) == (12, 512, True)
    assert any("broken.png" in line for line in listener.lines)
    assert any("random weights are only for trying out" in line for line in listener.lines)
    # One image by hand, through the network as it is.
    module, _ = load_pretrained("resnet18", "random", image_size=32)
    pixels = np.asarray(Image.open(photos / files[0]))  # 31x49
    resized = Image.fromarray(pixels).resize((51, 32), Image.Resampling.BICUBIC).crop((9, 0, 41, 32))
    image = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = module.network((image - module.mean) / module.std)
    np.testing.assert_allclose(stored(output)[0], expected[0].numpy(), rtol=1e-4, atol=1e-5)


def test_the_arrays_reader_takes_the_file_with_its_labels(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    embed_file(str(photos), output, **RANDOM)
    dataset = read_back(output)
    assert not dataset.notes
    assert (dataset.class_names, dataset.num_clusters) == (("cat", "dog"), 2)
    assert dataset.labels is not None and dataset.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(dataset.samples.read(np.arange(12)), stored(output))
    embed_file(str(photos), output, **RANDOM, overrides=["data.labels=none"])
    assert "labels" not in pq.read_schema(output).names
    assert read_back(output, "data.num_clusters=3").labels is None


def test_metadata_tells_where_the_features_come_from(tmp_path: Path) -> None:
    from cce_ray import __version__

    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8), np.uint8))
    embed_file(str(tmp_path / "images.npy"), tmp_path / "features.parquet", **RANDOM)
    schema = pq.read_schema(tmp_path / "features.parquet")
    assert {key.decode(): value.decode() for key, value in schema.metadata.items()} == {
        "cce_ray.backbone": "resnet18",
        "cce_ray.weights": "random",
        "cce_ray.image_size": "32",
        "cce_ray.version": __version__,
    }
    assert schema.names == ["id", "features"]


def test_small_batches_and_row_groups_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, many = tmp_path / "one.parquet", tmp_path / "many.parquet"
    overrides = ["data.limit=50"]
    embed_file("digits", one, **RANDOM, batch_size=1000, overrides=overrides)
    monkeypatch.setattr("cce_ray.runs.feature_file.GROUP_BYTES", 4 * 512 * 20)
    monkeypatch.setattr(module_of_embedding, "MEMORY_GIB", 0)
    embed_file("digits", many, **RANDOM, batch_size=7, overrides=overrides)
    assert pq.ParquetFile(one).num_row_groups == 1
    assert pq.ParquetFile(many).num_row_groups == 3  # 21 + 21 + 8
    first, second = pq.read_table(one), pq.read_table(many)
    assert first["id"].equals(second["id"]) and first["labels"].equals(second["labels"])
    np.testing.assert_allclose(stored(one), stored(many), rtol=1e-4, atol=1e-5)
    # A choice of a data set's rows keeps their numbers, and numbers as class names stay numbers.
    ids = first["id"].to_pylist()
    assert all(a < b for a, b in pairwise(ids)) and ids[-1] > 50
    digits = load_dataset(load_config(None, ["data=digits"])[0].data)
    assert digits.labels is not None
    assert first["labels"].to_pylist() == digits.labels[ids].tolist()


def test_an_own_models_features_are_what_its_head_sees(tmp_path: Path) -> None:
    quick = ["optimizer.epochs=1", "runtime.threads=1", "tracking.enabled=false", "data.limit=100"]
    settings = ["data=digits", "model=cnn", "optimizer.batch_size=50", *quick]
    folder = run_training(load_config(None, [*settings, f"output_dir={tmp_path / 'run'}"])[0]).output_dir
    classifier, _ = load_classifier(Path(folder) / "model.pt")
    digits = load_dataset(load_config(None, ["data=digits"])[0].data)
    with torch.inference_mode():
        images = torch.from_numpy(digits.samples.read(np.arange(1797)))
        expected = classifier.backbone(classifier.normalize(images))
    output = tmp_path / "features.parquet"
    for backbone in (folder, f"{folder}/model.pt"):
        embed_file("digits", output, backbone=backbone, device="cpu", batch_size=256)
        np.testing.assert_allclose(stored(output), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert pq.read_schema(output).metadata[b"cce_ray.weights"].startswith(b"model.pt sha256:")
    np.save(tmp_path / "large.npy", np.zeros((4, 9, 9), np.uint8))
    refused(str(tmp_path / "large.npy"), output, r"the model takes \(1, 8, 8\)", backbone=folder)
    refused("digits", output, "--weights: .* leave --weights out", backbone=folder, weights="random")
    refused("digits", output, "--image-size: .* leave --image-size out", backbone=folder, image_size=8)
    # The same images from a folder, in the model's size and channels.
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    assert embed_file(str(tmp_path / "images"), output, backbone=folder, device="cpu")["samples"] == 1


def refused(data: str, output: Path, told: str, **arguments: Any) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        embed_file(data, output, **({"device": "cpu"} | arguments))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    np.save(tmp_path / "vectors.npy", np.zeros((5, 7)))
    np.save(tmp_path / "rgba.npy", np.zeros((5, 8, 8, 4), np.uint8))
    refused("digits", tmp_path / "features.csv", r"must end in \.parquet")
    refused("digits", tmp_path / "missing" / "features.parquet", "does not exist; make it first")
    refused("digits", output, "--backbone: .*'resnet19'; did you mean resnet1", backbone="resnet19")
    refused("digits", output, "'run/model.pt' is not a file", backbone="run/model.pt")
    refused("digits", output, "--weights: 'w.pth' is not a file", weights="w.pth")
    refused("digitz", output, "no such file or folder, nor a data set")
    refused("digits", output, "settings of the data only", overrides=["optimizer.epochs=3"])
    refused("digits", output, r"data\.split: 0\.5", **RANDOM, overrides=["data.split=0.5"])
    refused(str(tmp_path / "vectors.npy"), output, r"shape \(7,\) are embeddings.*cce train", **RANDOM)
    refused(str(tmp_path / "rgba.npy"), output, "images of 4 channels", **RANDOM)
    refused("digits", output, "device", **(RANDOM | {"device": "tpu"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rgba.npy", "vectors.npy"]


def test_weights_that_give_no_finite_features_are_refused(tmp_path: Path) -> None:
    network, _ = load_pretrained("resnet18", "random", image_size=32)
    state = network.network.state_dict()
    torch.save(
        state | {"conv1.weight": torch.full_like(state["conv1.weight"], torch.nan)}, tmp_path / "w.pth"
    )
    arguments = RANDOM | {"weights": str(tmp_path / "w.pth"), "overrides": ["data.limit=3"]}
    refused("digits", tmp_path / "features.parquet", "not finite for sample", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_earlier_file_survives_a_failure_in_the_middle(
    failure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "features.parquet"
    output.write_bytes(b"earlier")

    def failing(*_: object) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield np.arange(3), np.zeros((3, 512), np.float32)
        raise failure

    monkeypatch.setattr(module_of_embedding, "features", failing)
    monkeypatch.setattr("cce_ray.runs.feature_file.GROUP_BYTES", 1)
    with pytest.raises(failure if isinstance(failure, type) else OSError):
        embed_file("digits", output, **RANDOM)
    assert output.read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"]


def test_full_device_memory_names_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Iterator[Any]:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(module_of_embedding, "features", full)
    refused("digits", tmp_path / "features.parquet", "--batch-size: 64 samples fill", **RANDOM)


def test_the_command_prints_json_and_an_error_as_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8), np.uint8))
    command = [sys.executable, "-m", "cce_ray.cli", "embed", "images.npy", "-o", "features.parquet"]
    command += ["--backbone", "resnet18", "--device", "cpu", "--json"]
    options = ["--weights", "random", "--image-size", "32", "--batch-size", "2"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["samples"], summary["features"], summary["output"]) == (3, 512, "features.parquet")
    command += ["--weights", "missing.pth"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: --weights: 'missing.pth' is not a file") and not failed.stdout
    assert failed.stderr.count("\n") == 1
