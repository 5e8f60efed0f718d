"""The sets that come through torchvision: tiny files in the true formats, and the real MNIST."""

import hashlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.data import DATASETS, DataSettings, load_dataset
from cce_ray.data.sources.torchvision_sets import data_root

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
MNIST_ROOT = Path(os.environ.get("CCE_DATA", SHARED))
RANDOM = np.random.default_rng(0)
FINE_TO_COARSE = RANDOM.permutation(np.repeat(np.arange(20), 5))


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.tobytes())


def write_mnist(root: Path) -> None:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 30), ("t10k", 20)):
        write_idx(
            folder / f"{part}-images-idx3-ubyte", RANDOM.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        )
        write_idx(folder / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))


def pickled(path: Path, content: dict[str, Any]) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sets, ten images a file, with the checksums that torchvision shall find."""
    from torchvision import datasets

    for kind in (datasets.CIFAR10, datasets.CIFAR100):
        folder = root / kind.base_folder
        folder.mkdir(parents=True)
        for files in ("train_list", "test_list"):
            monkeypatch.setattr(
                kind,
                files,
                [
                    [name, pickled(folder / name, cifar_batch(kind.__name__))]
                    for name, _ in getattr(kind, files)
                ],
            )
        names = {
            "fine_label_names": [f"fine {i}" for i in range(100)],
            "label_names": [f"class {i}" for i in range(10)],
        }
        names["coarse_label_names"] = [f"coarse {i}" for i in range(20)]
        digest = pickled(folder / kind.meta["filename"], names)
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": digest})


def cifar_batch(kind: str) -> dict[str, Any]:
    pixels = RANDOM.integers(0, 256, (20, 3072)).astype(np.uint8)
    if kind == "CIFAR10":
        labels = RANDOM.permutation(np.arange(20) % 10)
        pixels[:, 0] = labels
        return {"data": pixels, "labels": labels.tolist()}
    fine = RANDOM.permutation(np.argsort(FINE_TO_COARSE)[::5])
    pixels[:, 0] = FINE_TO_COARSE[fine]
    return {"data": pixels, "fine_labels": fine.tolist(), "coarse_labels": FINE_TO_COARSE[fine].tolist()}


def write_stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    digests = {}
    for name, count in (("train", 20), ("test", 10), ("unlabeled", 5)):
        pixels = RANDOM.integers(0, 256, (count, 3, 96, 96)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels[:, 0, 0, 5] = labels  # Stored column by column: row 5, column 0.
        (folder / f"{name}_X.bin").write_bytes(pixels.tobytes())
        (folder / f"{name}_y.bin").write_bytes((labels + 1).tobytes())
    (folder / "class_names.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    for path in folder.iterdir():
        digests[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    for files in ("train_list", "test_list"):
        listed = [[name, digests[name]] for name, _ in getattr(datasets.STL10, files)]
        monkeypatch.setattr(datasets.STL10, files, listed)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("torchvision")
    write_mnist(tmp_path)
    write_cifar(tmp_path, monkeypatch)
    write_stl10(tmp_path, monkeypatch)
    return tmp_path


def settings(name: str, root: Path, **values: Any) -> DataSettings:
    return DATASETS[name](root=root, **values)  # type: ignore[call-arg]


SIZES = {"mnist": (30, 20), "cifar10": (100, 20), "cifar100_20": (20, 20), "stl10": (20, 10)}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100_20": (3, 32, 32), "stl10": (3, 96, 96)}


@pytest.mark.parametrize("name", SIZES)
def test_parts_and_the_official_split(name: str, root: Path) -> None:
    train, test = SIZES[name]
    for part, size in (("train", train), ("test", test), ("all", train + test)):
        data = load_dataset(settings(name, root, part=part))
        assert (len(data.samples), len(data.labels)) == (size, size)  # type: ignore[arg-type]
        assert len(data.train_indices) == len(data.evaluation_indices) == size
    official = load_dataset(settings(name, root, split="official"))
    assert official.train_indices.tolist() == list(range(train))
    assert official.evaluation_indices.tolist() == list(range(train, train + test))
    assert data.samples.shape == SHAPES[name] and data.samples.dtype == np.uint8
    assert data.num_clusters == len(data.class_names or ()) == (20 if name == "cifar100_20" else 10)


@pytest.mark.parametrize(("name", "row"), [("cifar10", 0), ("cifar100_20", 0), ("stl10", 5)])
def test_images_stand_upright_beside_their_labels(name: str, row: int, root: Path) -> None:
    data = load_dataset(settings(name, root, part="all"))
    assert data.samples.array is not None and data.labels is not None
    assert data.samples.array[:, 0, row, 0].tolist() == data.labels.tolist()


def test_limit_with_the_official_split_limits_both_parts(root: Path) -> None:
    data = load_dataset(settings("mnist", root, split="official", limit=12))
    assert (len(data.train_indices), len(data.evaluation_indices)) == (12, 12)
    assert all(int(data.ids[row]) < 30 for row in data.train_indices)
    assert all(int(data.ids[row]) >= 30 for row in data.evaluation_indices)


def test_coarse_labels_come_with_their_names(root: Path) -> None:
    data = load_dataset(settings("cifar100_20", root))
    assert data.class_names == tuple(f"coarse {i}" for i in range(20))


def test_unlabelled_parts_of_stl10_ask_for_the_number_of_clusters(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.num_clusters: not set"):
        load_dataset(settings("stl10", root, part="unlabeled"))
    data = load_dataset(settings("stl10", root, part="train+unlabeled", num_clusters=7))
    assert (len(data.samples), data.labels, data.num_clusters) == (25, None, 7)
    assert data.notes


@pytest.mark.parametrize("name", SIZES)
def test_missing_files_name_the_folder_and_the_ways_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        load_dataset(settings(name, tmp_path))
    told = str(caught.value)
    assert told.startswith(f"data.root: {name} is not in '{tmp_path}'") and "\n" not in told
    assert "data.download=true" in told and "CCE_DATA" in told


def test_damaged_files_are_refused_before_they_are_unpickled(root: Path) -> None:
    (root / "cifar-100-python" / "train").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ValueError, match=r"^data\.root: cifar100_20 is not in .* or damaged"):
        load_dataset(settings("cifar100_20", root))


def test_the_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("CCE_DATA", str(root))
    assert data_root() == root
    assert len(load_dataset(DATASETS["mnist"]()).samples) == 30
    monkeypatch.delenv("CCE_DATA")
    assert data_root() == Path("data")


@pytest.mark.skipif(not (MNIST_ROOT / "MNIST" / "raw").is_dir(), reason="needs MNIST below CCE_DATA")
def test_the_real_mnist() -> None:
    data = load_dataset(settings("mnist", MNIST_ROOT, split="official"))
    assert data.samples.array is not None and data.labels is not None
    assert data.samples.array.shape == (70_000, 1, 28, 28)
    assert np.bincount(data.labels[data.train_indices]).tolist()[:3] == [5923, 6742, 5958]
    assert round(float(data.samples.array[:60_000].mean()) / 255, 4) == 0.1307
