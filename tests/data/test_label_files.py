"""Labels in files of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.data import load_dataset
from cce_ray.data.sources.arrays import Arrays
from cce_ray.data.sources.label_files import read_labels


@pytest.mark.parametrize(
    ("name", "content", "column", "expected"),
    [
        ("y.txt", "3\n1\n10\n", None, [3, 1, 10]),
        ("y.txt", "label\ncat\n\n dog \n", None, ["cat", "dog"]),
        ("y.csv", "1\n2\n", None, [1, 2]),
        ("y.csv", "y\n1\n2\n", None, [1, 2]),
        ("y.csv", "\ufefffile,class\na.png,red\nb.png,blue\n", "class", ["red", "blue"]),
        ("y.csv", 'file,class\n"a,b.png",7\n', "class", [7]),
        ("y.tsv", "file\tclass\na\t1.0\nb\t2.0\n", "class", [1.0, 2.0]),
    ],
)
def test_text_files(tmp_path: Path, name: str, content: str, column: str | None, expected: list[Any]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    labels = read_labels(tmp_path / name, column).labels
    assert labels.tolist() == expected
    assert labels.dtype.kind == {int: "i", float: "f", str: "O"}[type(expected[0])]


def test_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([4, 5]))
    assert read_labels(tmp_path / "y.npy", None).labels.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("name", "content", "column", "told"),
    [
        ("missing.csv", None, None, "data.labels_path: .* is not a file"),
        ("y.json", b"[]", None, "data.labels_path: .* is neither .npy, .csv"),
        (
            "y.csv",
            b"size,class\na,b\n",
            None,
            r"data.label_key: .* has 2 columns \('size, class'\); name the one",
        ),
        (
            "y.csv",
            b"file,class\na,b\n",
            "kind",
            "data.label_key: .* has no column 'kind'; it has 'file, class'",
        ),
        ("y.csv", b"file,class\na\n", "class", "data.labels_path: .* has a line with 1 cells"),
        ("y.txt", b"\xff\xfe\x00", None, "data.labels_path: .* cannot be read as text"),
        ("y.npy", b"\xff\xfe\x00", None, "data.labels_path: .* cannot be read as an array"),
    ],
)
def test_unfit_files_are_told(
    tmp_path: Path, name: str, content: bytes | None, column: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{told}") as caught:
        read_labels(tmp_path / name, column)
    assert "\n" not in str(caught.value)


def test_classes_are_numbered_in_the_order_of_numbers_not_of_text(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 2)))
    (tmp_path / "y.txt").write_text("10\n9\n9\n100\n")
    data = load_dataset(Arrays(path=tmp_path / "x.npy", labels_path=tmp_path / "y.txt"))
    assert data.labels is not None and data.labels.tolist() == [1, 0, 0, 2]
    assert data.class_names == ("9", "10", "100") and data.num_clusters == 3


def joined(tmp_path: Path, text: str, **values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"features": [[0.0, 1.0]] * 4, "doc": ["d0", "d1", "d2", "d3"]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    (tmp_path / "y.csv").write_text(text)
    settings = {"labels_path": tmp_path / "y.csv", "num_clusters": 2, **values}
    return load_dataset(Arrays(path=tmp_path / "x.parquet", **settings))


def test_labels_are_joined_by_the_users_ids(tmp_path: Path) -> None:
    text = "doc,kind\nd3,a\nd1,b\nd0,a\nd2,b\nd9,c\n"
    data = joined(tmp_path, text, id_key="doc", label_key="kind")
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.notes[-1].startswith("1 labels of") and data.notes[-1].endswith(
        "belong to no sample of the data"
    )
    with pytest.raises(
        ValueError, match=r"^data\.labels_path: 1 of 4 samples have no label .*'d2' is the first"
    ):
        joined(tmp_path, "doc,kind\nd3,a\nd1,b\nd0,a\n", id_key="doc")
    with pytest.raises(ValueError, match=r"^data\.labels_path: 'd3' has two labels"):
        joined(tmp_path, text + "d3,b\n", id_key="doc", label_key="kind")


def test_labels_are_joined_by_places(tmp_path: Path) -> None:
    data = joined(tmp_path, "id,label\n3,a\n1,b\n0,a\n2,b\n")
    assert data.labels.tolist() == [0, 1, 1, 0]


def test_ids_that_do_not_name_the_samples_are_said(tmp_path: Path) -> None:
    data = joined(tmp_path, "id,label\nx,a\ny,a\nz,b\nw,b\n")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert "go by the order of the samples: its column 'id' does not name them" in data.notes[-1]


def test_a_label_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.labels_path: .* has an empty cell in the line"):
        joined(tmp_path, "label\na\n \nb\nb\n".replace(" ", '""'))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [(["1", "10"], "i"), (["01", "1"], "O"), (["1_0", "10"], "O"), (["1.0", "2"], "f"), (["-3", "4"], "i")],
)
def test_what_is_written_differently_stays_apart(tmp_path: Path, cells: list[str], kind: str) -> None:
    (tmp_path / "y.txt").write_text("\n".join(cells))
    labels = read_labels(tmp_path / "y.txt", None).labels
    assert labels.dtype.kind == kind and len(set(labels.tolist())) == 2
