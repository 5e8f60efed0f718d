"""What samples are called, whatever part of the data they are."""

import pickle
from typing import Any

import numpy as np
import pytest

from cce_ray.data.storage.sample_ids import Chained, Repeated, SampleIds

FILES = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]


def test_places_cost_nothing_however_many_they_are() -> None:
    ids = SampleIds(range(10**9))
    assert len(ids) == 10**9 and ids[5] == "5" and ids[-1] == str(10**9 - 1)
    assert list(ids[10**8 :][:2]) == ["100000000", "100000001"]
    with pytest.raises(IndexError):
        SampleIds(range(2))[2]


def test_a_subset_keeps_the_places_in_the_source() -> None:
    ids = SampleIds(range(100)).subset(np.array([7, 50, 99])).subset(np.array([0, 2]))
    assert list(ids) == ["7", "99"] and ids.column(np.array([1, 0])).tolist() == [99, 7]
    assert ids.files is None and not ids.are_text


def test_images_are_called_by_their_files_and_known_by_their_places_too() -> None:
    ids = SampleIds(range(4), files=FILES, one_each=True).subset(np.array([1, 3]))
    assert list(ids) == ["a/1.png", "b/1.png"]
    assert ids.column(np.array([0, 1])).tolist() == [1, 3]
    assert ids.rows_of(["b/1.png", "1"]) == [1, 0]


@pytest.mark.parametrize(
    ("own", "text"), [(np.array([30, 10, 20]), False), (np.array(["x", "y", "10"], dtype=object), True)]
)
def test_the_users_own_ids_go_before_places_and_files(own: np.ndarray, text: bool) -> None:
    ids = SampleIds(range(3), own=own, files=["s.npy"] * 3).subset(np.array([2, 0]))
    assert list(ids) == [str(own[2]), str(own[0])] and ids.are_text == text
    assert ids.column(np.array([0])).tolist() == [own[2]]
    assert ids.rows_of([str(own[0])]) == [1]
    with pytest.raises(ValueError, match=r"^'1' is not a sample"):
        ids.rows_of(["1"])


def test_unknown_and_ambiguous_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^'c' is not a sample of the data \(they are called like 'a'\)"):
        SampleIds(range(2), own=np.array(["a", "b"], dtype=object)).rows_of(["c"])
    with pytest.raises(ValueError, match=r"^'a' is the id of several samples"):
        SampleIds(range(2), own=np.array(["a", "a"], dtype=object)).rows_of(["a"])


def test_the_files_of_shards_are_found_by_row() -> None:
    files = Chained([Repeated("one", 2), Repeated("two", 0), ["x", "y", "z"]])
    assert list(files) == ["one", "one", "x", "y", "z"] and files[-1] == "z"
    assert list(files[1:3]) == ["one", "x"]
    with pytest.raises(IndexError):
        files[5]
    again: Any = pickle.loads(pickle.dumps(SampleIds(range(5), files=files)))
    assert again.files[2] == "x" and again[2] == "2"
