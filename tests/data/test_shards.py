"""Several files as one set."""

import resource
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cce_ray.data import Dataset, load_dataset
from cce_ray.data.sources.arrays import Arrays
from cce_ray.data.storage.samples import ArraySamples
from cce_ray.data.storage.shards import ShardedSamples

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FEATURES = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
ENDS = (0, 7, 8, 30, 50)


def load(path: Path, **values: Any) -> Dataset:
    return load_dataset(Arrays(path=path, **{"num_clusters": 2, **values}))


def write_npy(folder: Path, array: np.ndarray = FEATURES) -> None:
    for number, (first, last) in enumerate(pairwise(ENDS)):
        np.save(folder / f"part-{number}.npy", array[first:last])


def write_parquet(folder: Path, **columns: Any) -> None:
    for number, (first, last) in enumerate(pairwise(ENDS)):
        table = {"features": list(FEATURES[first:last]), **{k: v[first:last] for k, v in columns.items()}}
        pq.write_table(pa.table(table), folder / f"part-{number}.parquet", row_group_size=6)


@settings(max_examples=100)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data())
def test_any_rows_of_any_shards(sizes: list[int], data: st.DataObject) -> None:
    array = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    samples = ShardedSamples([ArraySamples(part) for part in np.split(array, np.cumsum(sizes)[:-1])])
    rows = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), max_size=20)), dtype=np.int64)
    assert len(samples) == len(array) and samples.shape == (2,) and samples.dtype == np.float32
    assert np.array_equal(samples.read(rows), array[rows])


@pytest.mark.parametrize("memory", [4.0, 0.0])
@pytest.mark.parametrize("write", [write_npy, write_parquet])
def test_shards_are_one_set_in_the_order_of_their_names(tmp_path: Path, write: Any, memory: float) -> None:
    write(tmp_path)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "_metadata.parquet").write_bytes(b"of all shards")
    (tmp_path / ".hidden.npy").write_bytes(b"")
    (tmp_path / "README.md").write_text("shards")
    data = load(tmp_path, memory_limit_gib=memory)
    assert len(data.samples) == 50 and data.samples.shape == (4,) and data.labels is None
    assert (data.samples.array is None) == (memory == 0)
    in_order = [data.samples.read(np.arange(start, min(start + 9, 50))) for start in range(0, 50, 9)]
    assert np.array_equal(np.concatenate(in_order), FEATURES)
    for seed in range(30):
        rows = np.random.default_rng(seed).permutation(50)[:5]
        assert np.array_equal(data.samples.read(rows), FEATURES[rows])
    assert list(data.ids)[-1] == "49"


def test_images_in_shards(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3)).astype(np.uint8)
    write_npy(tmp_path, images)
    samples = load(tmp_path, memory_limit_gib=0).samples
    assert samples.shape == (3, 6, 5) and samples.dtype == np.uint8
    assert np.array_equal(samples.read(np.array([49, 7, 0])), images[[49, 7, 0]].transpose(0, 3, 1, 2))


def test_whole_intensities_in_shards_share_the_limit(tmp_path: Path) -> None:
    write_npy(tmp_path, np.random.default_rng(0).integers(0, 256, (50, 4, 4)))
    limit = 50 * 16 / 2**30
    assert load(tmp_path, memory_limit_gib=4 * limit).samples.array is not None
    with pytest.raises(ValueError, match=r"^data\.path: the images of .* save intensities 0\.\.255 as uint8"):
        load(tmp_path, memory_limit_gib=limit)


def test_labels_of_parquet_shards_are_numbered_together(tmp_path: Path) -> None:
    names = np.array(["cat"] * 8 + ["ant"] * 22 + ["bee"] * 20)
    write_parquet(tmp_path, y=names, text=names)
    data = load(tmp_path, num_clusters=None)
    assert data.class_names == ("ant", "bee", "cat") and data.labels is not None
    assert data.labels.tolist() == [2] * 8 + [0] * 22 + [1] * 20
    assert data.notes == ("columns not used as features: 'text'",)


def test_labels_of_npy_shards_come_from_a_file_that_may_lie_among_them(tmp_path: Path) -> None:
    write_npy(tmp_path)
    np.save(tmp_path / "a_labels.npy", np.arange(50) % 3)
    data = load(tmp_path, labels_path=tmp_path / "a_labels.npy", memory_limit_gib=0)
    assert data.labels is not None and data.labels.tolist() == (np.arange(50) % 3).tolist()
    np.save(tmp_path / "a_labels.npy", np.arange(49) % 3)
    with pytest.raises(ValueError, match=r"^data\.labels_path: 49 labels for 50 samples"):
        load(tmp_path, labels_path=tmp_path / "a_labels.npy")


def test_limit_and_split_choose_across_shards(tmp_path: Path) -> None:
    write_npy(tmp_path)
    data = load(tmp_path, limit=20, split=0.25, memory_limit_gib=0)
    assert data.samples.array is None and len(data.samples) == 20
    assert np.array_equal(data.samples.read(np.arange(20)), FEATURES[[int(row) for row in data.ids]])


def unequal_width(folder: Path) -> None:
    np.save(folder / "part-4.npy", np.ones((3, 5)))


def unequal_dtype(folder: Path) -> None:
    np.save(folder / "part-5.npy", np.ones((3, 4, 4), np.uint8))
    for number in range(4):
        np.save(folder / f"part-{number}.npy", np.ones((3, 4, 4), np.float32))


def other_kind(folder: Path) -> None:
    pq.write_table(pa.table({"features": list(FEATURES)}), folder / "x.parquet")


def bad_value(folder: Path) -> None:
    np.save(folder / "part-2.npy", np.full((22, 4), np.nan))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            unequal_width,
            r"samples in '.*part-4\.npy' are float32 \(5,\), but in 'part-0\.npy' float32 \(4,\)",
        ),
        (unequal_dtype, r"samples in '.*part-5\.npy' are uint8 .*, but in 'part-0\.npy' float32"),
        (other_kind, r".* holds \.npy and \.parquet files; keep shards of one kind in it"),
        (lambda folder: np.savez(folder / "x.npz", x=FEATURES), r".* holds \.npy and \.npz files; keep"),
        (bad_value, r"'.*part-2\.npy' has nan in row 0, column 0"),
        (lambda folder: (folder / "part-9.npy").write_bytes(b""), r"'.*part-9\.npy' cannot be read"),
        (lambda folder: np.save(folder / "part-9.npy", np.ones(3)), r"'.*part-9\.npy' has shape \(3,\)"),
    ],
)
def test_npy_shards_that_do_not_fit_are_told_in_one_line(tmp_path: Path, spoil: Any, told: str) -> None:
    write_npy(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=rf"^data\.path: {told}") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"features": [[1.0] * 5]}, r"data\.path: samples in .* \(5,\), but in 'part-0\.parquet' .* \(4,\)"),
        ({"other": [[1.0] * 4]}, r"data\.path: features of .* are in 'other', but of .* in 'features'"),
        (
            {"features": [[1.0] * 4], "y": [1]},
            r"data\.label_key: '.*part-0.*' has no labels, but 'x.parquet'",
        ),
        ({"features": pa.array([], pa.list_(pa.float32()))}, r"data\.path: '.*x\.parquet' has no rows"),
    ],
)
def test_parquet_shards_that_do_not_fit_are_told_in_one_line(
    tmp_path: Path, columns: dict[str, Any], told: str
) -> None:
    write_parquet(tmp_path)
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=f"^{told}") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_shards_says_what_may_lie_there(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(ValueError, match=r"^data\.path: .* is not a file; .* fill it with shards, \.npy or"):
        load(tmp_path)
    np.savez(tmp_path / "x.npz", x=FEATURES)
    with pytest.raises(ValueError, match=r"^data\.path: .* holds \.npz files; keep shards of one kind"):
        load(tmp_path)


def test_more_shards_than_open_files_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npy(tmp_path)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 100))
    with pytest.raises(
        ValueError, match=r"^data\.path: the 4 shards in .* raise the limit \(ulimit -n 132\)"
    ):
        load(tmp_path)


def test_single_rows_here_and_there_do_not_decode_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "set").mkdir()
    write_parquet(tmp_path / "set")
    samples = load(tmp_path / "set", memory_limit_gib=0).samples
    for row in [40, 35] * 10:
        assert np.array_equal(samples.read(np.array([row])), FEATURES[[row]])
    assert len(list(tmp_path.glob("cce_ray_*/*.npy"))) == 1
