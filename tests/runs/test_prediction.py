"""Labelling new data: read as the training data were, whatever they are called."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from cce_ray.config import load_config
from cce_ray.data import load_dataset
from cce_ray.runs import Listener, embed_file, predict_file, run_training

QUICK = ["optimizer.epochs=1", "optimizer.batch_size=10", "runtime.threads=1", "tracking.enabled=false"]


def trained(folder: Path, *data: str) -> str:
    overrides = [*data, "data.num_clusters=3", *QUICK, f"output_dir={folder}"]
    return run_training(load_config(None, overrides)[0]).output_dir


def write_images(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(folder / f"{number:02}.png")


def test_oblong_images_and_a_folder_called_like_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "known", 30, (12, 20, 3))
    write_images(tmp_path / "2024", 5, (12, 20, 3))
    model = trained(tmp_path / "run", "data=folder", f"data.path={tmp_path / 'known'}")
    predict_file(model, "2024", tmp_path / "labels.csv")
    table = pyarrow.csv.read_csv(tmp_path / "labels.csv")
    assert table["file"].to_pylist() == [f"{number:02}.png" for number in range(5)]
    write_images(tmp_path / "square", 5, (20, 20, 3))
    with pytest.raises(
        ValueError, match=r"samples of shape \(3, 20, 20\), but the model takes \(3, 12, 20\)"
    ):
        predict_file(model, "square", tmp_path / "labels.csv")


def test_images_are_read_with_the_channels_that_the_model_learnt(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((30, 4, 6, 3), np.float32)  # the first axis could be channels
    np.save(tmp_path / "images.npy", images)
    path = f"data.path={tmp_path / 'images.npy'}"
    model = trained(tmp_path / "run", "data=arrays", path, "data.channels=last")
    result = predict_file(model, str(tmp_path / "images.npy"), tmp_path / "labels.parquet")
    assert result["samples"] == 30


def table(path: Path, columns: dict[str, np.ndarray]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def blobs(count: int = 60, size: int = 4) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, size)) * 5
    rows = centres[np.arange(count) % 3] + generator.normal(size=(count, size))
    return {f"f{column}": rows[:, column].astype(np.float32) for column in range(size)}


def clusters(path: Path) -> list[int]:
    return pyarrow.csv.read_csv(path)["cluster"].to_pylist()


class Notes(Listener):
    """What was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


def test_a_model_knows_its_columns_by_name(tmp_path: Path) -> None:
    columns = blobs()
    path = table(tmp_path / "x.parquet", columns)
    model = trained(tmp_path / "run", "data=arrays", f"data.path={path}")
    predict_file(model, str(path), tmp_path / "same.csv")
    more = {"extra": np.arange(60.0), **dict(reversed(columns.items()))}
    predict_file(model, str(table(tmp_path / "more.parquet", more)), tmp_path / "more.csv")
    assert (
        clusters(tmp_path / "more.csv")
        == clusters(tmp_path / "same.csv")
        == clusters(Path(model) / "clusters.csv")
    )
    renamed = table(tmp_path / "renamed.parquet", {f"g{name}": values for name, values in columns.items()})
    with pytest.raises(ValueError, match=r"^data\.columns: .* lacks 'f0', 'f1', 'f2', 'f3' and has 'gf0'"):
        predict_file(model, str(renamed), tmp_path / "renamed.csv")
    assert not (tmp_path / "renamed.csv").exists()
    # An array has no names: by position, which is said.
    np.save(tmp_path / "x.npy", np.stack(list(columns.values()), 1))
    heard = Notes()
    predict_file(model, str(tmp_path / "x.npy"), tmp_path / "array.csv", listener=heard)
    assert clusters(tmp_path / "array.csv") == clusters(tmp_path / "same.csv")
    assert heard.said == ["the data have no names of columns: they are taken by position, as f0, f1, f2, f3"]


def test_a_model_without_names_takes_columns_by_position_and_says_so(tmp_path: Path) -> None:
    columns = blobs()
    np.save(tmp_path / "x.npy", np.stack(list(columns.values()), 1))
    model = trained(tmp_path / "run", "data=arrays", f"data.path={tmp_path / 'x.npy'}")
    heard = Notes()
    path = table(tmp_path / "x.parquet", columns)
    predict_file(model, str(path), tmp_path / "x.csv", listener=heard)
    assert clusters(tmp_path / "x.csv") == clusters(Path(model) / "clusters.csv")
    assert heard.said == [
        "the model does not know the names of its columns: f0, f1, f2, f3 are taken by position"
    ]


def test_the_table_that_was_trained_on_is_labelled_whatever_its_labels_are_called(tmp_path: Path) -> None:
    columns = {**blobs(), "kind": np.arange(60) % 3}
    path = table(tmp_path / "x.parquet", columns)
    model = trained(tmp_path / "run", "data=arrays", f"data.path={path}", "data.label_key=kind")
    predict_file(model, str(path), tmp_path / "x.csv")
    assert clusters(tmp_path / "x.csv") == clusters(Path(model) / "clusters.csv")
    unlabelled = table(tmp_path / "new.parquet", blobs())
    predict_file(model, str(unlabelled), tmp_path / "new.csv")
    assert clusters(tmp_path / "new.csv") == clusters(tmp_path / "x.csv")


def test_rows_are_numbered_by_their_place_in_the_data(tmp_path: Path) -> None:
    columns = {**blobs(), "paper": np.arange(60) + 5000, "y": np.arange(60) % 3}
    path = table(tmp_path / "x.parquet", columns)
    model = trained(tmp_path / "run", "data=arrays", f"data.path={path}", "data.limit=20")
    settings = load_config(None, ["data=arrays", f"data.path={path}", "data.limit=20"])[0].data
    rows = load_dataset(settings).ids.places
    written = pyarrow.csv.read_csv(Path(model) / "clusters.csv")
    assert written["id"].to_pylist() == list(rows) and max(rows) > 20
    predict_file(model, str(path), tmp_path / "some.csv", overrides=["data.limit=9"])
    predict_file(model, str(path), tmp_path / "all.csv")
    every = clusters(tmp_path / "all.csv")
    some = pyarrow.csv.read_csv(tmp_path / "some.csv")
    assert len(some) == 9 and [every[row] for row in some["id"].to_pylist()] == some["cluster"].to_pylist()
    predict_file(model, str(path), tmp_path / "own.parquet", overrides=["data.limit=9", "data.id_key=paper"])
    own = pyarrow.parquet.read_table(tmp_path / "own.parquet")
    assert own["id"].to_pylist() == [row + 5000 for row in some["id"].to_pylist()]
    tail = trained(
        tmp_path / "tail", "data=arrays", f"data.path={path}", "data.imbalance=5", "data.id_key=paper"
    )
    assert min(pyarrow.csv.read_csv(Path(tail) / "clusters.csv")["id"].to_pylist()) >= 5000
    # New data carry their ids along where they have them, and need not have any.
    predict_file(tail, str(path), tmp_path / "again.csv")
    assert pyarrow.csv.read_csv(tmp_path / "again.csv")["id"].to_pylist() == list(range(5000, 5060))
    predict_file(tail, str(table(tmp_path / "without.parquet", blobs())), tmp_path / "without.csv")
    assert pyarrow.csv.read_csv(tmp_path / "without.csv")["id"].to_pylist() == list(range(60))


def test_a_limit_leaves_images_their_names_and_places(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", 30, (8, 8, 3))
    model = trained(tmp_path / "run", "data=folder", f"data.path={tmp_path / 'photos'}", "data.limit=12")
    written = pyarrow.csv.read_csv(Path(model) / "clusters.csv")
    assert len(written) == 12
    assert written["file"].to_pylist() == [f"{place:02}.png" for place in written["id"].to_pylist()]


def test_a_folder_of_shards_is_labelled_in_natural_order_with_its_files(tmp_path: Path) -> None:
    rows = np.stack(list(blobs().values()), 1)
    (tmp_path / "shards").mkdir()
    for part in range(12):
        np.save(tmp_path / "shards" / f"rows_{part}.npy", rows[part * 5 : part * 5 + 5])
    np.save(tmp_path / "x.npy", rows)
    model = trained(tmp_path / "run", "data=arrays", f"data.path={tmp_path / 'shards'}")
    predict_file(model, str(tmp_path / "shards"), tmp_path / "shards.csv")
    predict_file(model, str(tmp_path / "x.npy"), tmp_path / "x.csv")
    assert (
        clusters(tmp_path / "shards.csv")
        == clusters(tmp_path / "x.csv")
        == clusters(Path(model) / "clusters.csv")
    )
    written = pyarrow.csv.read_csv(tmp_path / "shards.csv")
    assert written["file"].to_pylist() == [f"rows_{row // 5}.npy" for row in range(60)]
    assert written["id"].to_pylist() == list(range(60))


def test_images_are_not_given_to_a_model_of_embeddings(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.stack(list(blobs().values()), 1))
    model = trained(tmp_path / "run", "data=arrays", f"data.path={tmp_path / 'x.npy'}")
    write_images(tmp_path / "photos", 3, (8, 8, 3))
    with pytest.raises(ValueError, match=r"photos: a folder of images, but the model takes embeddings of 4"):
        predict_file(model, str(tmp_path / "photos"), tmp_path / "labels.csv")
    with pytest.raises(ValueError, match=r"photos: a folder of images, but the model takes embeddings of 4"):
        embed_file(str(tmp_path / "photos"), tmp_path / "features.parquet", backbone=model)
    # Arrays beside images: those that the model takes.
    np.save(tmp_path / "photos" / "rows.npy", np.stack(list(blobs().values()), 1))
    assert predict_file(model, str(tmp_path / "photos"), tmp_path / "labels.csv")["samples"] == 60


@pytest.mark.parametrize("way", ["itself", "symlink", "hard link", "another spelling", "to be made"])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, way: str) -> None:
    path = table(tmp_path / "x.parquet", blobs())
    model = trained(tmp_path / "run", "data=arrays", f"data.path={path}")
    before = path.read_bytes()
    output = tmp_path / "out.parquet"
    if way == "symlink":
        output.symlink_to(path)
    elif way == "hard link":
        output.hardlink_to(path)
    else:
        (tmp_path / "sub").mkdir()
        output = {"itself": path, "another spelling": tmp_path / "sub" / ".." / "x.parquet"}.get(way, output)
    if way == "to be made":  # a link to the input that leads nowhere yet is one all the same
        path.rename(tmp_path / "moved.parquet")
        output.symlink_to(path)
    with pytest.raises(ValueError, match=r"^--output: .* is read by this command; give another name"):
        predict_file(model, str(path), output)
    with pytest.raises(ValueError, match=r"^--output: .* is read by this command; give another name"):
        embed_file(str(path), output, backbone=model)
    kept = tmp_path / "moved.parquet" if way == "to be made" else path
    assert kept.read_bytes() == before


def test_an_output_among_the_shards_that_are_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    path = table(tmp_path / "shards" / "0.parquet", blobs())
    model = trained(tmp_path / "run", "data=arrays", f"data.path={tmp_path / 'shards'}")
    with pytest.raises(ValueError, match=r"^--output: .* would become one of the shards"):
        predict_file(model, str(tmp_path / "shards"), tmp_path / "shards" / "labels.parquet")
    predict_file(model, str(tmp_path / "shards"), tmp_path / "shards" / "labels.csv")  # not a shard
    predict_file(model, str(tmp_path / "shards"), tmp_path / "shards" / "labels.csv")  # as often as one likes
    with pytest.raises(ValueError, match=r"^--output: .*clusters\.csv is a result of the run itself"):
        predict_file(model, str(path), Path(model) / "clusters.csv")
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n" + "a\n" * 60)
    with pytest.raises(ValueError, match=r"^--output: .*labels\.csv is read by this command"):
        predict_file(model, str(path), labels, overrides=[f"data.labels_path={labels}"])
