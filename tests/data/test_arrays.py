"""Arrays of embeddings or images in .npy and .npz files."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.data import Dataset, load_dataset
from cce_ray.data.sources.arrays import Arrays

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(20, 5)).astype(np.float32)
LABELS = np.arange(20) % 4


def load(path: Path, **values: Any) -> Dataset:
    return load_dataset(Arrays(path=path, **{"num_clusters": 2, **values}))


def saved(tmp_path: Path, array: np.ndarray) -> Path:
    np.save(tmp_path / "x.npy", array)
    return tmp_path / "x.npy"


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_embeddings_of_any_number_become_float32(tmp_path: Path, kind: str, memory: float) -> None:
    array = (FEATURES * 10).astype(kind) if kind != "uint8" else np.abs(FEATURES * 10).astype(kind)
    data = load(saved(tmp_path, array), memory_limit_gib=memory)
    assert data.kind == "embeddings" and data.samples.shape == (5,) and data.samples.dtype == np.float32
    assert (data.samples.array is None) == (memory == 0)
    rows = np.array([19, 0, 7, 7])
    block = data.samples.read(rows)
    assert block.dtype == np.float32 and block.flags.c_contiguous
    assert np.array_equal(block, array[rows].astype(np.float32))
    assert list(data.ids)[:2] == ["0", "1"] and data.labels is None


@pytest.mark.parametrize("memory", [4.0, 0.0])
@pytest.mark.parametrize(
    ("shape", "channels", "first"),
    [
        ((6, 9, 8), "auto", lambda x: x[:, None]),
        ((6, 9, 8, 3), "auto", lambda x: x.transpose(0, 3, 1, 2)),
        ((6, 3, 9, 8), "auto", lambda x: x),
        ((6, 1, 9, 8), "auto", lambda x: x),
        ((6, 3, 9, 3), "last", lambda x: x.transpose(0, 3, 1, 2)),
        ((6, 5, 9, 8), "first", lambda x: x),
    ],
)
def test_images_come_with_their_channels_first(
    tmp_path: Path, shape: tuple[int, ...], channels: str, first: Any, memory: float
) -> None:
    array = RANDOM.integers(0, 256, shape).astype(np.uint8)
    data = load(saved(tmp_path, array), channels=channels, memory_limit_gib=memory)
    block = data.samples.read(np.arange(6))
    assert data.kind == "images" and block.dtype == np.uint8 and block.flags.c_contiguous
    assert np.array_equal(block, first(array))


def test_images_as_floats_or_wide_integers(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 256, (6, 4, 4))
    assert load(saved(tmp_path, values)).samples.dtype == np.uint8
    assert np.array_equal(load(saved(tmp_path, values)).samples.read(np.arange(6))[:, 0], values)
    floats = load(saved(tmp_path, values / 255)).samples
    assert floats.dtype == np.float32 and float(floats.read(np.arange(6)).max()) <= 1


def test_fortran_order_is_read_right(tmp_path: Path) -> None:
    path = saved(tmp_path, np.asfortranarray(FEATURES))
    for memory in (4.0, 0.0):
        assert np.array_equal(load(path, memory_limit_gib=memory).samples.read(np.arange(20)), FEATURES)


@pytest.mark.parametrize("feature_key", ["features", "x", "images", "data", "anything"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_npz_finds_the_usual_names_in_memory_and_beyond(
    tmp_path: Path, feature_key: str, save: Any, memory: float
) -> None:
    save(tmp_path / "x.npz", **{feature_key: FEATURES})
    data = load(tmp_path / "x.npz", memory_limit_gib=memory)
    assert np.array_equal(data.samples.read(np.arange(20)), FEATURES) and data.labels is None


def test_npz_labels_and_chosen_keys(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, features=FEATURES, other=FEATURES * 2, labels=LABELS * 3, fine=np.arange(20))
    data = load(path, num_clusters=None)
    assert data.labels is not None and data.labels.tolist() == LABELS.tolist()
    assert data.class_names == ("0", "3", "6", "9") and data.num_clusters == 4
    chosen = load(path, key="other", label_key="fine", num_clusters=3)
    assert np.array_equal(chosen.samples.read(np.arange(20)), FEATURES * 2)
    assert chosen.labels is not None and chosen.labels.tolist() == list(range(20))


def test_no_unpacked_copy_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    np.savez(tmp_path / "x.npz", features=FEATURES, y=LABELS)
    data, other = (load(tmp_path / "x.npz", memory_limit_gib=0) for _ in range(2))
    assert len(list(scratch.glob("*/*"))) == 1, "one copy for both"
    assert np.array_equal(data.samples.read(np.arange(20)), other.samples.read(np.arange(20)))
    del data, other
    gc.collect()
    assert list(scratch.glob("*/*")) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_values_that_are_not_finite_are_refused_by_row_and_column(
    tmp_path: Path, bad: float, memory: float
) -> None:
    array = FEATURES.copy()
    array[13, 2] = array[17, 0] = bad
    with pytest.raises(ValueError) as caught:
        load(saved(tmp_path, array), memory_limit_gib=memory).samples.read(np.arange(19, -1, -1))
    told = str(caught.value)
    row, column = (13, 2) if memory else (17, 0)
    assert f"{bad} in row {row}, column {column} (2 such rows" in told and "\n" not in told
    assert told.startswith("data.path: ")


def test_values_too_large_for_float32_are_refused(tmp_path: Path) -> None:
    array = FEATURES.astype(np.float64)
    array[3, 3] = 1e300
    with pytest.raises(ValueError, match=r"inf in row 3, column 3"):
        load(saved(tmp_path, array))


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((6, 4, 4), 1.5), "data.path: the images of .* range from 1.5 to 1.5; scale intensities"),
        (np.full((6, 4, 4), 300), "data.path: the images of .* are int64; save intensities 0..255 as uint8"),
        (np.zeros((6, 3, 9, 3)), "data.channels: images of shape .* set it to first or last"),
        (np.zeros((6, 9, 9, 9)), "data.channels: images of shape .* set it to first or last"),
        (np.zeros(6), r"data.path: .* has shape \(6,\); give \(N, D\) embeddings"),
        (np.zeros((0, 5)), r"data.path: .* has shape \(0, 5\)"),
        (np.zeros((5, 0)), r"data.path: .* has shape \(5, 0\)"),
        (np.array([["a", "b"]]), "data.path: .* holds <U1, not numbers"),
        (np.zeros((4, 2), dtype=complex), "data.path: .* holds complex128, not numbers"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, array: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        load(saved(tmp_path, array))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", features=np.array([{"a": 1}], dtype=object))
    for name in ("x.npy", "x.npz"):
        for memory in (4.0, 0.0):
            with pytest.raises(ValueError, match=r"^data\.path: .* cannot be read as") as caught:
                load(tmp_path / name, memory_limit_gib=memory)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("keep", [0, 5, 100, -40])
def test_damaged_files_are_refused(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    np.save(path, FEATURES) if name == "x.npy" else np.savez(path, features=FEATURES)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"^data\.path: .* cannot be read as") as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"key": "nothing"}, "data.key: .* has no array 'nothing'; it has a, b"),
        ({"label_key": "nothing", "key": "a"}, "data.label_key: .* has no array 'nothing'; it has a, b"),
        ({}, "data.key: .* has a, b, none of features, x, images, data; name the array with data.key"),
    ],
)
def test_unknown_keys_are_told_with_the_known_ones(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "x.npz", a=FEATURES, b=FEATURES)
    with pytest.raises(ValueError, match=f"^{told}"):
        load(tmp_path / "x.npz", **values)


def test_wrong_paths_are_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"")
    for path, told in (
        (tmp_path / "missing.npy", "is not a file; set data.path to a file"),
        (tmp_path, "is not a file; use data=folder for a folder"),
        (tmp_path / "x.pkl", "is neither .npy, .npz nor .parquet"),
    ):
        with pytest.raises(ValueError, match=f"^data.path: '{path}' {told}"):
            load(path)


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=FEATURES, labels=LABELS[:-1])
    with pytest.raises(ValueError, match=r"^data\.label_key: 19 labels for 20 samples"):
        load(tmp_path / "x.npz")
    np.save(tmp_path / "y.npy", np.append(LABELS, 0))
    with pytest.raises(ValueError, match=r"^data\.labels_path: 21 labels for 20 samples"):
        load(saved(tmp_path, FEATURES), labels_path=tmp_path / "y.npy")


def test_a_limit_brings_large_files_into_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, FEATURES)
    data = load(path, limit=6, memory_limit_gib=6 * 5 * 4 / 2**30)
    assert data.samples.array is not None and len(data.samples) == 6
    assert np.array_equal(data.samples.array, FEATURES[[int(row) for row in data.ids]])
    lazy = load(path, limit=6, memory_limit_gib=0)
    assert lazy.samples.array is None
    assert np.array_equal(lazy.samples.read(np.array([5, 0])), data.samples.array[[5, 0]])


def test_a_relative_path_is_absolute_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved(tmp_path, FEATURES)
    monkeypatch.chdir(tmp_path)
    settings = Arrays(path=Path("x.npy"), num_clusters=2)
    monkeypatch.chdir("/")
    assert len(load_dataset(settings).samples) == 20
