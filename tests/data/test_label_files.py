"""Labels in files of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.data.arrays import Arrays
from cce_ray.data.label_files import read_labels


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
    labels = read_labels(tmp_path / name, column)
    assert labels.tolist() == expected
    assert labels.dtype.kind == {int: "i", float: "f", str: "U"}[type(expected[0])]


def test_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([4, 5]))
    assert read_labels(tmp_path / "y.npy", None).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("name", "content", "column", "told"),
    [
        ("missing.csv", None, None, "data.labels_path: .* is no file"),
        ("y.json", b"[]", None, "data.labels_path: .* is neither .npy, .csv"),
        (
            "y.csv",
            b"file,class\na,b\n",
            None,
            r"data.label_key: .* has 2 columns \(file, class\); name the one",
        ),
        (
            "y.csv",
            b"file,class\na,b\n",
            "kind",
            "data.label_key: .* has no column 'kind'; it has file, class",
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
    data = Arrays(path=tmp_path / "x.npy", labels_path=tmp_path / "y.txt").load()
    assert data.labels is not None and data.labels.tolist() == [1, 0, 0, 2]
    assert data.class_names == ("9", "10", "100") and data.num_clusters == 3
