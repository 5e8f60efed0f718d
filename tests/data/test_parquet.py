"""Embeddings in Parquet: in memory, in order from the file, at random from a copy."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.data import Batches, Dataset, load_dataset
from cce_ray.data.sources.arrays import Arrays
from cce_ray.data.storage.parquet import ParquetSamples

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(50, 4)).astype(np.float32)
ROWS = list(FEATURES)


def load(path: Path, **values: Any) -> Dataset:
    return load_dataset(Arrays(path=path, **{"num_clusters": 2, **values}))


def written(tmp_path: Path, columns: dict[str, Any], row_group_size: int = 8) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=row_group_size)
    return tmp_path / "x.parquet"


def lists(kind: Any) -> Any:
    return pa.array([row.tolist() for row in FEATURES], type=kind)


@pytest.mark.parametrize("memory", [4.0, 0.0])
@pytest.mark.parametrize(
    "columns",
    [
        {"embedding": lists(pa.list_(pa.float32())), "text": ["a"] * 50},
        {"any": lists(pa.list_(pa.float32(), 4))},
        {"features": lists(pa.large_list(pa.float64())), "other": lists(pa.list_(pa.float32(), 4))},
        {f"f{column}": FEATURES[:, column] for column in range(4)},
        {
            "index": np.arange(50),
            **{f"f{column}": FEATURES[:, column].astype(np.float64) for column in range(4)},
        },
    ],
    ids=["list", "fixed", "usual name among lists", "columns", "columns beside an index"],
)
def test_every_layout_gives_the_same_embeddings(
    tmp_path: Path, columns: dict[str, Any], memory: float
) -> None:
    data = load(written(tmp_path, columns), memory_limit_gib=memory)
    assert data.samples.shape == (4,) and len(data.samples) == 50 and data.labels is None
    assert (data.samples.array is None) == (memory == 0)
    in_order = [data.samples.read(np.arange(start, min(start + 7, 50))) for start in range(0, 50, 7)]
    assert np.array_equal(np.concatenate(in_order), FEATURES)
    rows = RANDOM.permutation(50)
    assert np.array_equal(data.samples.read(rows), FEATURES[rows])
    assert np.array_equal(data.samples.read(np.arange(10, 20)), FEATURES[10:20])


def test_labels_stand_beside_them(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"y": ["b", "a"] * 25, "fine": np.arange(50), **{f"f{c}": FEATURES[:, c] for c in range(4)}},
    )
    data = load(path, num_clusters=None)
    assert data.labels is not None and data.labels.tolist() == [1, 0] * 25 and data.class_names == ("a", "b")
    chosen = load(path, label_key="fine")
    assert chosen.labels is not None and chosen.labels.tolist() == list(range(50))
    # Without "fine" as labels it is one more number, and "y" is text.
    assert data.samples.shape == (5,) and chosen.samples.shape == (4,)
    assert chosen.notes == ("columns not used as features: 'y'",)


def test_reads_in_order_write_no_copy_and_follow_any_start(tmp_path: Path) -> None:
    samples = ParquetSamples(written(tmp_path, {"features": lists(pa.list_(pa.float32()))}), ["features"])
    for start, count in ((0, 5), (5, 20), (3, 4), (49, 1), (24, 8), (0, 50)):
        assert np.array_equal(samples.read(np.arange(start, start + count)), FEATURES[start : start + count])
    assert samples._copy is None
    assert samples.read(np.array([], dtype=np.int64)).shape[0] == 0


def test_the_copy_for_random_reads_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = written(tmp_path, {"features": lists(pa.list_(pa.float32()))})
    data = load(path, memory_limit_gib=0)
    batches = Batches(data.samples, data.train_indices, batch_size=9, device="cpu")
    for epoch in range(2):
        for rows, inputs in batches.epoch(epoch):
            assert np.array_equal(inputs.numpy(), FEATURES[rows.numpy()])
    assert len(list(scratch.glob("*/*"))) == 1
    del data, batches
    gc.collect()
    assert list(scratch.glob("*/*")) == []


def test_a_disk_too_small_for_the_copy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100, 100, 0))
    data = load(written(tmp_path, {"features": lists(pa.list_(pa.float32()))}), memory_limit_gib=0)
    with pytest.raises(ValueError, match=r"^data\.memory_limit_gib: a temporary copy needs .* TMPDIR"):
        data.samples.read(np.array([3, 1]))


@pytest.mark.parametrize("memory", [4.0, 0.0])
@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"features": [[1.0, 2.0], [3.0]]}, "missing embeddings or lengths"),
        ({"features": [[1.0, 2.0], None]}, "missing embeddings or lengths"),
        ({"features": [[1.0, 2.0], [1.0, None]]}, "has nan in row 1, column 1"),
        ({"a": [1.0, None], "b": [1.0, 2.0]}, "has nan in row 1, column 0"),
        ({"a": [1.0, float("inf")]}, "has inf in row 1, column 0"),
        ({"a": ["x", "y"]}, "has neither a list column nor numeric ones"),
        ({"a": [[1.0], [2.0]], "b": [[1.0], [2.0]]}, "has list columns a, b; name one"),
        ({"features": pa.array([], type=pa.list_(pa.float32()))}, "has no rows"),
    ],
)
def test_unfit_tables_are_told(tmp_path: Path, columns: dict[str, Any], told: str, memory: float) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        load(written(tmp_path, columns), memory_limit_gib=memory).samples.read(np.array([0, 1]))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("data.")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"key": "nothing"}, "data.key: .* has no list column 'nothing'; it has features"),
        ({"label_key": "nothing"}, "data.label_key: .* has no column 'nothing'; it has features"),
    ],
)
def test_unknown_columns_are_told(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    path = written(tmp_path, {"features": lists(pa.list_(pa.float32()))})
    with pytest.raises(ValueError, match=f"^{told}"):
        load(path, **values)


@pytest.mark.parametrize("keep", [0, 50, -20])
def test_damaged_files_are_told(tmp_path: Path, keep: int) -> None:
    path = written(tmp_path, {"features": lists(pa.list_(pa.float32()))})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"^data\.path: .* cannot be read as Parquet") as caught:
        load(path)
    assert "\n" not in str(caught.value)
