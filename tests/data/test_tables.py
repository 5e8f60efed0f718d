"""Which columns of a table become features: neither what looks like labels or ids, nor what is unclear."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cce_ray.data import Dataset, load_dataset
from cce_ray.data.sources.arrays import Arrays
from cce_ray.data.storage.column_names import looks_like_ids, looks_like_labels

ROWS, SIZE = 20, 4
FEATURES = np.random.default_rng(0).normal(size=(ROWS, SIZE)).astype(np.float32)
LOOSE = {f"f{column}": FEATURES[:, column] for column in range(SIZE)}
CLASSES = np.arange(ROWS) % 3
SIZES = {"width": 640 + CLASSES, "height": 480 + CLASSES}
EVERY = np.arange(ROWS)


def load(path: Path, **values: Any) -> Dataset:
    return load_dataset(Arrays(path=path, **{"num_clusters": 2, **values}))


def written(tmp_path: Path, columns: Any, name: str = "x.parquet") -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), tmp_path / name)
    return tmp_path / name


def read(data: Dataset) -> np.ndarray:
    return data.samples.read(np.arange(len(data.samples)))


@pytest.mark.parametrize(
    "name",
    [
        "target",
        "class",
        "Class",
        "LABEL",
        "category",
        "true_label",
        "coarse-class",
        "class_id",
        "cluster",
        "Species",
        "ground truth",
        "labelIdx",
    ],
)
def test_what_looks_like_labels_is_not_a_feature_and_scores_only_if_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, {**LOOSE, name: CLASSES})
    data = load(path)
    assert data.labels is None and np.array_equal(read(data), FEATURES)
    assert data.notes[0].startswith(
        f"'{name}': left out of the features as labels; data.label_key={name} scores"
    )
    named = load(path, label_key=name, num_clusters=None)
    assert named.labels is not None and named.labels.tolist() == CLASSES.tolist() and named.notes == ()
    assert np.array_equal(read(named), FEATURES)


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "ID",
        "image_id",
        "imageId",
        "doc-id",
        "Unnamed: 0",
        "__index_level_0__",
        "row_nr",
        "index",
        "uuid",
    ],
)
def test_what_looks_like_ids_is_not_a_feature_and_is_kept_if_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, {name: EVERY * 3 + 7, **LOOSE})
    data = load(path)
    assert np.array_equal(read(data), FEATURES) and list(data.ids)[:2] == ["0", "1"]
    assert data.notes[0].startswith(f"'{name}': left out of the features as ids; data.id_key={name} keeps")
    assert load(path, id_key=name).ids.column(EVERY).tolist() == (EVERY * 3 + 7).tolist()


@pytest.mark.parametrize(
    "name", ["f_ideal", "humid", "paid", "classic", "x_target_distance", "grid", "subclassed"]
)
def test_other_names_are_features(name: str) -> None:
    assert not looks_like_ids(name) and not looks_like_labels(name)


def test_the_index_that_pandas_wrote_is_not_a_feature(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(LOOSE, index=pd.Index(EVERY * 2, name="sample"))
    frame.to_parquet(tmp_path / "x.parquet")
    data = load(tmp_path / "x.parquet")
    assert np.array_equal(read(data), FEATURES) and data.notes == ()


def test_columns_choose_the_features_and_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, {**LOOSE, "target": CLASSES})
    data = load(path, columns=["target", "f2", "f0"])
    assert np.array_equal(
        read(data), np.stack([CLASSES, FEATURES[:, 2], FEATURES[:, 0]], 1).astype(np.float32)
    )
    assert data.reading == {"columns": ["target", "f2", "f0"]}
    assert load(path, columns=["f3", "f*"]).reading == {"columns": ["f3", "f0", "f1", "f2"]}
    assert load(path, columns=["f?"]).samples.shape == (4,)
    with pytest.raises(ValueError, match=r"^data\.columns: .* lacks 'h\*'"):
        load(path, columns=["h*"])
    with pytest.raises(ValueError, match=r"^data\.columns: .* lacks 'g0' and has 'f1', 'f2', 'f3'"):
        load(path, columns=["f0", "g0", "target"])
    with pytest.raises(ValueError, match="each once"):
        load(path, columns=["f0", "f0"])


def nested(kind: str) -> Any:
    flat = pa.array(FEATURES.reshape(-1))
    fixed = pa.FixedSizeListArray.from_arrays(flat, SIZE)
    if kind == "tensor":
        return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (SIZE,)), fixed)
    if kind == "matrix":
        square = pa.FixedSizeListArray.from_arrays(flat, SIZE)
        return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (2, 2)), square)
    if kind == "list of one list":
        return pa.array([[row.tolist()] for row in FEATURES])
    if kind == "list of lists":
        return pa.array([row.reshape(2, 2).tolist() for row in FEATURES])
    return pa.array([json.dumps(row.tolist() if kind == "text" else [row.tolist()]) for row in FEATURES])


@pytest.mark.parametrize("memory", [4.0, 0.0])
@pytest.mark.parametrize(
    "kind", ["tensor", "matrix", "list of one list", "list of lists", "text", "nested text"]
)
def test_embeddings_in_other_forms_are_read_and_sizes_beside_them_are_not(
    tmp_path: Path, kind: str, memory: float
) -> None:
    path = written(tmp_path, {**SIZES, "vec": nested(kind)})
    data = load(path, memory_limit_gib=memory)
    assert data.samples.shape == (SIZE,) and np.allclose(read(data), FEATURES)
    shuffled = np.random.default_rng(1).permutation(ROWS)
    assert np.allclose(data.samples.read(shuffled), FEATURES[shuffled])
    assert data.notes == ("columns not used as features: 'width', 'height'",)
    assert data.reading == {"key": "vec"}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([row.tobytes() for row in FEATURES]),
        pa.array([{"values": row.tolist()} for row in FEATURES]),
        pa.array([[[[float(row[0])]]] for row in FEATURES]),
        pa.array([[str(value) for value in row] for row in FEATURES]),
        pa.array([{"a": 1.0}] * ROWS, type=pa.map_(pa.string(), pa.float64())),
    ],
    ids=["bytes", "struct", "nested twice", "lists of text", "map"],
)
def test_embeddings_in_a_form_that_is_not_understood_are_refused(tmp_path: Path, column: Any) -> None:
    path = written(tmp_path, {**SIZES, "vec": column})
    with pytest.raises(
        ValueError, match=r"^data\.key: column 'vec' of .* holds .*; save it as lists"
    ) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert load(path, columns=["width", "height"]).samples.shape == (2,)  # the user's own word


def test_text_called_embedding_is_refused_and_other_text_left_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column 'embedding' of .* holds string, which cannot"):
        load(written(tmp_path, {**SIZES, "embedding": ["0.1 0.2"] * ROWS}))
    data = load(written(tmp_path, {**LOOSE, "title": ["[draft] one"] * ROWS}))
    assert data.samples.shape == (SIZE,) and data.notes == ("columns not used as features: 'title'",)


@pytest.mark.parametrize("texts", [["[1, 2]", "[1]"], ["[1, 2]", "nothing"], ["[1, 2]", None]])
def test_text_of_other_lengths_or_none_is_refused(tmp_path: Path, texts: list[Any]) -> None:
    path = written(tmp_path, {"embedding": texts})
    with pytest.raises(ValueError, match=r"^data\.path: .* has missing embeddings or .* near row 0"):
        read(load(path))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(FEATURES[:, 0]), pa.array(FEATURES[:, 1])], names=["a", "a"])
    with pytest.raises(ValueError, match="has several columns 'a'"):
        load(written(tmp_path, table))


def test_labels_that_are_lists_name_the_setting(tmp_path: Path) -> None:
    path = written(tmp_path, {"embedding": list(FEATURES), "label": [[int(k)] for k in CLASSES]})
    with pytest.raises(
        ValueError, match=r"^data\.label_key: the label in row 0 is not one value \(\[0\]\)"
    ) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert load(path, labels="none").samples.shape == (SIZE,)


def test_classes_beyond_64_bits_stay_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", FEATURES)
    (tmp_path / "y.csv").write_text("label\n" + "\n".join(str(10**20 + int(k)) for k in CLASSES))
    data = load(tmp_path / "x.npy", labels_path=tmp_path / "y.csv", num_clusters=None)
    assert data.labels is not None and data.labels.tolist() == CLASSES.tolist()
    assert data.class_names == tuple(str(10**20 + k) for k in range(3))
    unsigned = written(tmp_path, {**LOOSE, "y": (2**63 + CLASSES.astype(np.uint64)).astype(np.uint64)})
    assert load(unsigned, num_clusters=None).class_names == tuple(str(2**63 + k) for k in range(3))


def test_classes_that_floats_do_not_tell_apart_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {**LOOSE, "y": (2.0**60 + CLASSES).astype(np.float64)})
    with pytest.raises(ValueError, match=r"^data\.label_key: label .* floating-point"):
        load(path)


@pytest.mark.parametrize(
    ("ids", "text"), [([f"doc{k}" for k in range(ROWS)], True), ((10**12 + EVERY[::-1]).tolist(), False)]
)
def test_the_users_ids_go_with_the_rows(tmp_path: Path, ids: list[Any], text: bool) -> None:
    path = written(tmp_path, {**LOOSE, "key": ids})
    data = load(path, id_key="key", limit=7)
    rows = [row for row in range(ROWS) if str(ids[row]) in set(data.ids)]
    assert len(rows) == 7 and data.ids.are_text == text
    assert np.array_equal(read(data), FEATURES[rows])
    np.savez(tmp_path / "x.npz", features=FEATURES, key=np.array(ids))
    assert list(load(tmp_path / "x.npz", id_key="key").ids) == [str(value) for value in ids]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": [None, *range(1, ROWS)]}, "column 'key' of .* is empty in row 0"),
        ({"key": EVERY + 0.5}, "column 'key' of .* holds float64, not whole numbers or text"),
        ({}, "has no column 'key'; it has f0"),
    ],
)
def test_ids_that_are_none_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^data\.id_key: .*{message}"):
        load(written(tmp_path, {**LOOSE, **columns}), id_key="key")


def test_an_array_has_no_ids(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", FEATURES)
    with pytest.raises(ValueError, match=r"^data\.id_key: .* is an array without names"):
        load(tmp_path / "x.npy", id_key="key")


def test_shards_are_read_in_natural_order_and_by_the_names_of_their_columns(tmp_path: Path) -> None:
    for part in range(12):
        columns = {name: values[part : part + 1] for name, values in LOOSE.items()}
        columns = dict(reversed(columns.items())) if part % 2 else columns
        written(tmp_path, columns, f"part_{part}.parquet")
    data = load(tmp_path)
    assert np.array_equal(read(data), FEATURES[:12])
    assert [data.ids.files[row] for row in (2, 10)] == ["part_2.parquet", "part_10.parquet"]  # type: ignore[index]
    assert data.notes == ("shards are read in natural order: part_9.parquet before part_10.parquet",)
    written(tmp_path, {name.replace("f", "g"): values for name, values in LOOSE.items()}, "part_12.parquet")
    with pytest.raises(ValueError, match=r"^data\.columns: .*part_12.* lacks 'f0'"):
        load(tmp_path)


def test_the_files_that_an_embedding_was_made_of_name_its_rows(tmp_path: Path) -> None:
    files = [f"photos/{k}.png" for k in range(ROWS)]
    data = load(written(tmp_path, {"file": files, "features": list(FEATURES)}), limit=5)
    assert all(name in files for name in data.ids)
    assert data.ids.column(np.arange(5)).tolist() == [files.index(name) for name in data.ids]
