"""Known labels: which are told, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from cce_ray.config import RunConfig, load_config
from cce_ray.data import Dataset, load_dataset
from cce_ray.training import known_labels

RATIO = "supervision.ratio=0.1"
DIGITS = ["data=digits", "model=linear", "tracking.enabled=false"]


def told(*overrides: str) -> tuple[RunConfig, Dataset]:
    config = load_config(None, [*DIGITS, *overrides])[0].resolved()
    return config, load_dataset(config.data)


def known(*overrides: str) -> np.ndarray:
    found = known_labels(*told(*overrides))
    assert found is not None
    return found


def test_nothing_is_told_unless_asked() -> None:
    assert known_labels(*told()) is None


@pytest.mark.parametrize("ratio", [0.0056, 0.05, 1.0])
def test_a_ratio_draws_from_every_class_in_proportion(ratio: float) -> None:
    config, dataset = told(f"supervision.ratio={ratio}")
    found, labels = known_labels(config, dataset), dataset.labels
    assert found is not None and labels is not None
    rows = np.flatnonzero(found >= 0)
    assert len(rows) == round(ratio * len(labels))
    assert (found[rows] == labels[rows]).all()
    assert (np.abs(np.bincount(labels[rows]) - ratio * np.bincount(labels)) <= 1.5).all()


def test_the_draw_is_the_seeds_or_a_fixed_one() -> None:
    first, other = known("supervision.ratio=0.1"), known("supervision.ratio=0.1", "runtime.seed=1")
    assert (first != other).any()
    fixed = [known("supervision.ratio=0.1", "supervision.seed=3", f"runtime.seed={s}") for s in (0, 1)]
    assert (fixed[0] == fixed[1]).all()


def test_only_training_samples_are_told() -> None:
    config, dataset = told("supervision.ratio=0.1", "data.split=0.3")
    found = known_labels(config, dataset)
    assert found is not None
    assert set(np.flatnonzero(found >= 0)) <= set(dataset.train_indices)


def test_a_file_names_samples_and_classes(tmp_path: Path) -> None:
    told = {5: 3, 17: 0, 20: 1, 21: 2, 22: 4, 30: 5, 31: 6, 32: 7, 40: 8, 41: 9}
    lines = ["id,label", *(f"{row},{cluster}" for row, cluster in told.items()), "5,3"]
    (tmp_path / "known.csv").write_text("\n".join(lines))
    found = known(f"supervision.labels_path={tmp_path / 'known.csv'}")
    assert {row: int(found[row]) for row in np.flatnonzero(found >= 0)} == told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label\nnobody,3\n", "'nobody' is not a sample of the data"),
        ("id,label\n3,seven\n", "'seven' is not a class of the data"),
        ("id,label\n3,10\n", "label '10' is cluster 10 of 10; raise data.num_clusters"),
        ("id,label\n", "0 of its samples are trained on, fewer than the 10 clusters"),
        ("id,label\n3,1\n4,2\n", "2 of its samples are trained on, fewer than the 10 clusters"),
        ("id,label\n3\n", "'' is not a class of the data"),
        ("id,label\n3,1\n3,2\n", "'3' has two labels; keep one of them"),
        ("id,label\n3," + "x" * 200_000, "cannot be read as .csv .*; save it as UTF-8 text"),
        ("name,label\n3,1\n", "needs the columns id and label"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "known.csv").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        known(f"supervision.labels_path={tmp_path / 'known.csv'}")
    assert str(error.value).startswith("supervision.labels_path: ") and "\n" not in str(error.value)


def test_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_bytes("id,label\n3,größe\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^supervision.labels_path: .* cannot be read as .csv \([^\n]*$"):
        known(f"supervision.labels_path={tmp_path / 'known.csv'}")


def test_a_ratio_below_one_sample_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"supervision.ratio: 0.001 of 1797 samples is 2, fewer than the 10"):
        known("supervision.ratio=0.001")


def test_a_ratio_needs_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32))
    with pytest.raises(ValueError, match=r"supervision.ratio: 0.1, but the data have no labels"):
        known(
            "data=arrays", f"data.path={tmp_path / 'x.npy'}", "data.num_clusters=3", "supervision.ratio=0.1"
        )


@pytest.mark.parametrize("ratio", ["-0.1", "1.5"])
def test_a_ratio_is_a_share(ratio: str) -> None:
    with pytest.raises(ValueError, match=r"^supervision.ratio: "):
        load_config(None, [*DIGITS, f"supervision.ratio={ratio}"])


def test_two_sources_of_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two sources of known labels"):
        load_config(None, [*DIGITS, "supervision.ratio=0.1", f"supervision.labels_path={tmp_path / 'a.csv'}"])


@pytest.mark.parametrize("lines", ["id,label\n{place},b", "file,label\n{file},b", "id,label\n{file},b"])
def test_images_are_known_by_their_files_or_places_whatever_the_limit(tmp_path: Path, lines: str) -> None:
    from PIL import Image

    for number in range(12):
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png")
    settings = ["data=folder", f"data.path={tmp_path / 'photos'}", "data.limit=6"]
    whole = load_dataset(load_config(None, settings)[0].data)
    row, other = 5, 2
    text = lines.format(file=whole.ids[row], place=int(whole.ids.column(np.array([row]))[0]))
    extra = int(whole.ids.column(np.array([other]))[0]) if "{place}" in lines else whole.ids[other]
    (tmp_path / "known.csv").write_text(f"{text}\n{extra},a\n")
    config, _ = load_config(None, [*settings, f"supervision.labels_path={tmp_path / 'known.csv'}"])
    found = known_labels(config, load_dataset(config.data))
    assert found is not None and found.tolist() == [-1, -1, 0, -1, -1, 1]
