"""A data set in another process: in RAM one array for all, on disk the way to the files, not their bytes."""

import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cce_ray.data import DATASETS, Batches, Dataset, load_dataset
from cce_ray.data.storage.sample_ids import SampleIds
from cce_ray.data.storage.samples import ArraySamples

FEATURES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def npy(folder: Path, features: np.ndarray = FEATURES) -> dict[str, Any]:
    np.save(folder / "x.npy", features.astype(np.float64))
    return {"name": "arrays", "path": folder / "x.npy"}


def images(folder: Path) -> dict[str, Any]:
    np.save(folder / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3)).astype(np.uint8))
    return {"name": "arrays", "path": folder / "x.npy"}


def fortran(folder: Path) -> dict[str, Any]:
    np.save(folder / "x.npy", np.asfortranarray(FEATURES))
    return {"name": "arrays", "path": folder / "x.npy"}


def npz(folder: Path, features: np.ndarray = FEATURES) -> dict[str, Any]:
    np.savez_compressed(folder / "x.npz", features=features, y=np.arange(len(features)) % 3)
    return {"name": "arrays", "path": folder / "x.npz"}


def parquet(folder: Path, features: np.ndarray = FEATURES) -> dict[str, Any]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"features": list(features), "y": np.arange(len(features)) % 3})
    pq.write_table(table, folder / "x.parquet")
    return {"name": "arrays", "path": folder / "x.parquet"}


def shards(folder: Path) -> dict[str, Any]:
    for number in range(4):
        np.save(folder / f"{number}.npy", FEATURES[10 * number : 10 * number + 10])
    return {"name": "arrays", "path": folder}


def photos(folder: Path) -> dict[str, Any]:
    for row in range(40):
        (folder / "ab"[row % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (row, row, row)).save(folder / "ab"[row % 2] / f"{row}.png")
    return {"name": "folder", "path": folder}


ON_DISK = [npy, images, fortran, npz, parquet, shards, photos]


def load(source: dict[str, Any], **values: Any) -> Dataset:
    settings = {"num_clusters": 2, "memory_limit_gib": 0, **source, **values}
    return load_dataset(DATASETS[source["name"]](**settings))


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path_factory.mktemp("scratch"))
    monkeypatch.setattr("tempfile.tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)


def same(one: Dataset, other: Dataset) -> bool:
    rows = np.random.default_rng(1).permutation(len(one.samples))
    return (
        np.array_equal(one.samples.read(rows), other.samples.read(rows))
        and one.samples.read(rows[:3]).dtype == other.samples.read(rows[:3]).dtype
        and np.array_equal(one.train_indices, other.train_indices)
        and np.array_equal(one.evaluation_indices, other.evaluation_indices)
        and (one.labels is None) == (other.labels is None)
        and (one.labels is None or np.array_equal(one.labels, other.labels))  # type: ignore[arg-type]
        and list(one.ids) == list(other.ids)
        and (one.name, one.class_names, one.num_clusters)
        == (other.name, other.class_names, other.num_clusters)
    )


@pytest.mark.parametrize("make", ON_DISK)
@pytest.mark.parametrize("values", [{}, {"limit": 20}, {"memory_limit_gib": 4}], ids=str)
def test_every_source_comes_back_the_same(tmp_path: Path, make: Any, values: dict[str, Any]) -> None:
    data = load(make(tmp_path), **values)
    data.samples.read(np.array([3, 1]))  # Open, with whatever that leaves behind.
    again = pickle.loads(pickle.dumps(data))
    assert (again.samples.array is None) == (data.samples.array is None) == ("memory_limit_gib" not in values)
    assert same(data, again) and same(data, pickle.loads(pickle.dumps(again)))
    batches = Batches(again.samples, again.train_indices, batch_size=7, device="cpu")
    assert sum(len(rows) for rows, _ in batches.epoch(0)) == len(data.train_indices)


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    sets = []
    for make in ON_DISK:
        (tmp_path / make.__name__).mkdir()
        sets.append(load(make(tmp_path / make.__name__)))
    rows = np.array([17, 3, 39, 3])
    (tmp_path / "sets.pkl").write_bytes(pickle.dumps((sets, rows)))
    code = (
        "import pickle, sys; from pathlib import Path\n"
        "sets, rows = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "Path(sys.argv[2]).write_bytes(pickle.dumps([data.samples.read(rows) for data in sets]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "sets.pkl"), str(tmp_path / "read.pkl")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    for data, read in zip(sets, pickle.loads((tmp_path / "read.pkl").read_bytes()), strict=True):
        assert np.array_equal(data.samples.read(rows), read)


def test_a_mapped_file_is_never_pickled_by_value(tmp_path: Path) -> None:
    shape = (2_000, 26_000)
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype=np.float32, shape=shape)
    data = load({"name": "arrays", "path": tmp_path / "x.npy"})
    assert (tmp_path / "x.npy").stat().st_size > 200e6
    for whole in (data, load({"name": "arrays", "path": tmp_path / "x.npy"}, limit=1_000)):
        whole.samples.read(np.arange(5))
        assert len(pickle.dumps(whole)) < 100_000


def test_places_stay_lazy() -> None:
    again = pickle.loads(pickle.dumps(SampleIds(range(10**9))))
    assert isinstance(again, SampleIds) and len(again) == 10**9 and again[7] == "7"
    assert len(pickle.dumps(SampleIds(range(10**9)))) < 300


def test_an_array_in_ram_travels_out_of_band_and_is_shared_read_only() -> None:
    array = np.arange(30_000, dtype=np.float32).reshape(-1, 3)
    rows = np.arange(len(array))
    data = Dataset("x", ArraySamples(array), rows % 2, ("a", "b"), SampleIds(range(len(rows))), rows, rows, 2)
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    assert len(stream) < 2_000 and len(buffers) == 3, "samples, labels, and both indices at once"
    store = [memoryview(bytes(buffer.raw())) for buffer in buffers]
    one, other = (pickle.loads(stream, buffers=store) for _ in range(2))
    assert np.shares_memory(one.samples.array, other.samples.array)
    assert not one.samples.array.flags.writeable and same(data, one)
    assert one.samples.read(np.array([5, 2])).flags.writeable


@pytest.mark.parametrize("make", ON_DISK)
def test_a_machine_that_does_not_see_the_files_is_named(tmp_path: Path, make: Any) -> None:
    (tmp_path / "here").mkdir()
    source = make(tmp_path / "here")
    again = pickle.loads(pickle.dumps(load(source)))
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    path = tmp_path / "here" / "0.npy" if make is shards else source["path"]
    with pytest.raises(ValueError) as caught:
        again.samples.read(np.array([4, 1]))
    assert str(caught.value) == (
        f"data.path: '{path}' cannot be opened on {socket.gethostname()} (No such file or directory); "
        "every node must see it: put it on shared storage"
    )


@pytest.mark.parametrize("make", [npy, npz, parquet])
@pytest.mark.parametrize("rows", [[1, 2], [2, 1]])
def test_another_file_under_the_same_name_is_refused(tmp_path: Path, make: Any, rows: list[int]) -> None:
    source = make(tmp_path)
    again = pickle.loads(pickle.dumps(load(source)))
    make(tmp_path, FEATURES[:-1])
    with pytest.raises(
        ValueError, match=rf"^data\.path: .* holds .* on {socket.gethostname()}, but "
    ) as caught:
        again.samples.read(np.array(rows))
    assert "\n" not in str(caught.value)


def test_sources_name_the_host_that_lacks_the_file(tmp_path: Path) -> None:
    for name in ("arrays", "folder"):
        with pytest.raises(ValueError, match=rf"^data\.path: .* {socket.gethostname()} sees$"):
            load({"name": name, "path": tmp_path / "missing"})
