"""A folder of images, as people have them."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cce_ray.data import Batches, Dataset, load_dataset
from cce_ray.data.sources.folder import Folder


def save(path: Path, value: int = 100, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def load(path: Path, **values: Any) -> Dataset:
    return load_dataset(Folder(path=path, **{"num_clusters": 2, **values}))


def three_classes(folder: Path) -> None:
    for number, name in enumerate(("bird", "cat", "ant")):
        for image in range(3):
            save(folder / name / f"{image}.png", 10 * number + image)


def test_sub_folders_become_classes(tmp_path: Path) -> None:
    three_classes(tmp_path)
    data = load(tmp_path, num_clusters=None)
    assert data.class_names == ("ant", "bird", "cat") and data.num_clusters == 3
    assert data.labels is not None and data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(data.ids)[:4] == ["ant/0.png", "ant/1.png", "ant/2.png", "bird/0.png"]
    assert data.samples.shape == (3, 8, 8) and data.samples.dtype == np.uint8
    assert data.samples.read(np.array([1, 3]))[:, 0, 0, 0].tolist() == [21, 0]
    assert data.notes == ()


def test_labels_can_be_left_aside(tmp_path: Path) -> None:
    three_classes(tmp_path)
    assert load(tmp_path, labels="none").labels is None


@pytest.mark.parametrize(
    ("extra", "note"),
    [("loose.png", "no labels: not every"), ("deep/er/x.png", "no labels: not every")],
)
def test_other_layouts_are_unlabelled_and_say_so(tmp_path: Path, extra: str, note: str) -> None:
    three_classes(tmp_path)
    save(tmp_path / extra)
    data = load(tmp_path)
    assert data.labels is None and data.class_names is None and len(data.samples) == 10
    assert data.notes[0].startswith(note)


def test_a_flat_folder_has_no_labels_and_needs_the_number_of_clusters(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png")
    assert load(tmp_path).labels is None
    with pytest.raises(ValueError, match=r"^data\.num_clusters: not set, and the data have no labels"):
        load(tmp_path, num_clusters=None)


def test_hidden_files_other_files_and_upper_case_endings(tmp_path: Path) -> None:
    three_classes(tmp_path)
    save(tmp_path / "ant" / ".hidden.png")
    save(tmp_path / "__MACOSX" / "x.png")
    save(tmp_path / "ant" / "photo.JPG")
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    data = load(tmp_path)
    assert len(data.samples) == 10 and "ant/photo.JPG" in data.ids and data.num_clusters == 2
    assert data.notes == ("skipped 2 files (1 .txt, 1 hidden) and 1 folder (1 named __...)",)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    save(tmp_path / "chosen" / "a" / "0.png")
    (tmp_path / "chosen" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "chosen" / "loop").symlink_to(tmp_path / "chosen")
    assert list(load(tmp_path / "chosen").ids) == ["a/0.png", "b/1.png"]


def damage(folder: Path) -> None:
    three_classes(folder)
    whole = (folder / "cat" / "1.png").read_bytes()
    (folder / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bird" / "0.png").write_bytes(b"not an image")
    (folder / "bird" / "1.png").write_bytes(b"")


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_damaged_images_are_skipped_by_name_and_number(tmp_path: Path, memory: float) -> None:
    damage(tmp_path)
    data = load(tmp_path, memory_limit_gib=memory)
    assert len(data.samples) == len(data.ids) == 6
    assert data.labels is not None and data.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert data.samples.read(np.arange(6))[:, 0, 0, 0].tolist() == [20, 21, 22, 2, 10, 12]
    assert len(data.notes) == 1
    assert data.notes[0].startswith("3 of 9 images unreadable and skipped: bird/0.png (")
    assert "bird/1.png" in data.notes[0] and "cat/1.png" in data.notes[0]


def test_damaged_images_can_be_refused(tmp_path: Path) -> None:
    damage(tmp_path)
    with pytest.raises(ValueError, match=r"^data\.path: 3 of 9 images unreadable .*on_unreadable=skip$"):
        load(tmp_path, on_unreadable="refuse")


def test_a_folder_of_damaged_images_alone_is_refused(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"^data\.path: 9 of 9 images unreadable") as caught:
        load(tmp_path)
    assert "4.jpg" in str(caught.value) and "5.jpg" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_mixed_sizes_are_refused_with_two_examples(tmp_path: Path, memory: float) -> None:
    save(tmp_path / "a.png", size=(8, 10))
    save(tmp_path / "b.png", size=(20, 12))
    with pytest.raises(ValueError) as caught:
        load(tmp_path, memory_limit_gib=memory)
    told = str(caught.value)
    assert told.startswith("data.image_size: images differ in size ('a.png' 8x10, 'b.png' 20x12)")
    assert told.endswith("--set data.image_size=8")
    assert load(tmp_path, image_size=8, memory_limit_gib=memory).samples.shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing", "is not a folder; set data.path to a folder of images"),
        ("file.txt", "is not a folder; use data=arrays for a file"),
        ("empty", "holds no images"),
    ],
)
def test_wrong_paths_are_told_with_the_way_out(tmp_path: Path, path: str, told: str) -> None:
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"^data.path: '{tmp_path / path}' {told}"):
        load(tmp_path / path)


def test_large_folders_are_decoded_when_read(tmp_path: Path) -> None:
    three_classes(tmp_path)
    kept, lazy = load(tmp_path), load(tmp_path, memory_limit_gib=0)
    assert kept.samples.array is not None and lazy.samples.array is None
    rows = np.array([8, 0, 3, 3])
    assert np.array_equal(kept.samples.read(rows), lazy.samples.read(rows))
    batches = Batches(lazy.samples, lazy.train_indices, batch_size=4, device="cpu")
    assert not batches.resident and sum(len(rows) for rows, _ in batches.epoch(0)) == 9


def test_a_file_that_vanishes_or_changes_during_the_run_is_named(tmp_path: Path) -> None:
    three_classes(tmp_path)
    samples = load(tmp_path, memory_limit_gib=0).samples
    (tmp_path / "ant" / "0.png").unlink()
    save(tmp_path / "ant" / "1.png", size=(9, 9))
    with pytest.raises(ValueError, match=r"^data\.path: 'ant/0\.png' can no longer be read"):
        samples.read(np.array([0]))
    with pytest.raises(ValueError, match=r"^data\.path: 'ant/1\.png' changed its size"):
        samples.read(np.array([1]))


def test_a_file_that_becomes_a_fifo_during_the_run_is_named(tmp_path: Path) -> None:
    three_classes(tmp_path)
    samples = load(tmp_path, memory_limit_gib=0).samples
    (tmp_path / "ant" / "0.png").unlink()
    os.mkfifo(tmp_path / "ant" / "0.png")
    with pytest.raises(
        ValueError, match=r"'ant/0\.png' can no longer be read \(a FIFO, not a regular file\)"
    ):
        samples.read(np.array([0]))


def test_lazy_samples_travel_with_the_depths_of_the_data(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8), 1000 * number, np.uint16)).save(tmp_path / f"{number}.png")
    source = Folder(path=tmp_path, memory_limit_gib=0).source()
    samples = pickle.loads(pickle.dumps(source.samples))
    assert source.reading == {"depth_16_bit": 12}
    assert samples.read(np.arange(3))[:, 0, 0, 0].tolist() == [0, 1000 >> 4, 2000 >> 4]


def test_files_with_several_pages_or_frames_are_named(tmp_path: Path) -> None:
    three_classes(tmp_path)
    frame = Image.new("RGB", (8, 8))
    for name in ("ant/pages.tif", "bird/moving.gif"):
        frame.save(tmp_path / name, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    assert load(tmp_path).notes == (
        "2 files have several pages or frames, of which the first is used: ant/pages.tif, bird/moving.gif",
    )
    (tmp_path / "ant" / "pages.tif").unlink()
    assert load(tmp_path).notes == (
        "1 file has several pages or frames, of which the first is used: bird/moving.gif",
    )


def test_limit_reads_only_the_chosen_images_and_keeps_all_classes(tmp_path: Path) -> None:
    three_classes(tmp_path)
    data = load(tmp_path, limit=4, num_clusters=None)
    assert len(data.samples) == len(data.ids) == 4 and data.num_clusters == 3
    assert data.labels is not None and data.class_names is not None
    for row, name in enumerate(data.ids):
        assert name.startswith(data.class_names[data.labels[row]])


def test_a_source_needs_no_number_of_clusters_even_for_one_image(tmp_path: Path) -> None:
    save(tmp_path / "only.png")
    source = Folder(path=tmp_path).source()
    assert len(source.samples) == 1 and list(source.ids or ()) == ["only.png"]
