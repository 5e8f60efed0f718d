"""Labels, choices and splits, which every source shares."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cce_ray.data import DATASETS, Dataset, Digits, load_dataset
from cce_ray.data.long_tail import tailed
from cce_ray.data.sources.class_labels import encode_labels


def digits(**values: Any) -> Dataset:
    return load_dataset(Digits(**values))


@pytest.mark.parametrize(
    ("raw", "labels", "names"),
    [
        (np.array([7, 3, 3, 10]), [1, 0, 0, 2], ("3", "7", "10")),
        (np.array([2, 0], dtype=np.uint8), [1, 0], ("0", "2")),
        (np.array([1.0, 0.0, 1.0]), [1, 0, 1], ("0", "1")),
        (np.array(["cat", "ant", "cat"]), [1, 0, 1], ("ant", "cat")),
        (np.array(["cat", "ant"], dtype=object), [1, 0], ("ant", "cat")),
        (np.array([True, False]), [1, 0], ("False", "True")),
        (np.array([[4], [5]]), [0, 1], ("4", "5")),
    ],
)
def test_any_labels_become_class_ids_in_sorted_order(
    raw: np.ndarray, labels: list[int], names: tuple[str, ...]
) -> None:
    encoded, class_names = encode_labels(raw, "data.label_key")
    assert encoded.dtype == np.int64 and encoded.tolist() == labels
    assert class_names == names


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (np.array([0, 1, -1]), "label -1 in row 2 is negative"),
        (np.array([0.0, np.nan]), "label nan in row 1 is not a class"),
        (np.array([0.0, np.inf]), "label inf in row 1 is not a class"),
        (np.array([0.5]), "label 0.5 in row 0 is not a class"),
        (np.array(["a", None], dtype=object), "the label in row 1 is missing"),
        (np.array(["a", float("nan")], dtype=object), "the label in row 1 is missing"),
        (np.zeros((3, 2)), r"labels have shape \(3, 2\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused_by_row(raw: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=f"^data.label_key: {told}"):
        encode_labels(raw, "data.label_key")


def test_training_and_evaluation_share_all_samples_by_default() -> None:
    data = digits()
    assert data.train_indices.tolist() == data.evaluation_indices.tolist() == list(range(1797))
    assert data.num_clusters == 10 and data.kind == "images"


def test_a_share_is_held_out_by_its_seed() -> None:
    data, same, other = digits(split=0.25), digits(split=0.25), digits(split=0.25, split_seed=1)
    assert len(data.evaluation_indices) == 449
    union = np.concatenate([data.train_indices, data.evaluation_indices])
    assert sorted(union.tolist()) == list(range(1797))
    assert np.array_equal(data.evaluation_indices, same.evaluation_indices)
    assert not np.array_equal(data.evaluation_indices, other.evaluation_indices)


def test_limit_chooses_samples_with_their_labels_and_ids() -> None:
    whole, few = digits(), digits(limit=100)
    assert len(few.samples) == len(few.labels) == len(few.ids) == 100  # type: ignore[arg-type]
    assert few.num_clusters == 10
    for row in (0, 57, 99):
        original = int(few.ids[row])
        assert np.array_equal(few.samples.read(np.array([row]))[0], whole.samples.array[original])  # type: ignore[index]
        assert few.labels[row] == whole.labels[original]  # type: ignore[index]
    assert list(few.ids) != [str(row) for row in range(100)]
    assert len(digits(limit=10**6).samples) == 1797


def test_limit_and_split_compose() -> None:
    data = digits(limit=100, split=0.2)
    assert (len(data.train_indices), len(data.evaluation_indices), len(data.samples)) == (80, 20, 100)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"split": "official"}, "data.split: 'digits' has no official split"),
        ({"split": 0.001, "limit": 20}, "data.split: a held-out share of 0.001 leaves 0 of 20"),
    ],
)
def test_impossible_choices_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}") as caught:
        digits(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"num_clusters": 1},
        {"split": 1.0},
        {"split": 0},
        {"split": "half"},
        {"limit": 1},
        {"norm": 0},
        {"pat": 1},
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Digits(**values)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_documents_every_setting_and_knows_its_name(name: str) -> None:
    fields = DATASETS[name].model_fields
    assert fields["name"].default == name
    undocumented = [field for field, info in fields.items() if field != "name" and not info.description]
    assert not undocumented


def test_a_tail_falls_exponentially_from_the_first_class_to_the_last() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 1000))
    rows = tailed(labels, 16, seed=0)
    assert np.bincount(labels[rows]).tolist() == [1000, 500, 250, 125, 62]
    assert (np.diff(rows) > 0).all()


def test_any_labelled_set_can_be_made_unequal() -> None:
    data = digits(imbalance=10)
    assert data.labels is not None
    sizes = np.bincount(data.labels)
    assert sizes[0] == 174 and sizes[9] == 17 and (np.diff(sizes) < 0).all()
    assert len(data.samples) == len(data.ids) == sizes.sum()
    whole = digits()
    row = int(data.ids[5])
    assert (data.samples.read(np.array([5])) == whole.samples.read(np.array([row]))).all()
    held_out = digits(imbalance=10, split=0.25)
    assert len(held_out.evaluation_indices) == round(0.25 * sizes.sum())
    assert len(np.unique(digits(imbalance=10, split_seed=1).ids)) == sizes.sum()


def test_unlabelled_data_cannot(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((20, 3), np.float32))
    with pytest.raises(ValueError, match=r"^data.imbalance: 10, but the data have no labels; leave it out"):
        load_dataset(DATASETS["arrays"](path=tmp_path / "x.npy", imbalance=10, num_clusters=2))
