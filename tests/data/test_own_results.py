"""Results of earlier runs are not data; a user's own folders are never taken for results."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cce_ray.config import load_config
from cce_ray.data.sources.folder import Folder
from cce_ray.data.storage.image_listing import list_images
from cce_ray.experiments.experiment import Options, Outcome, write
from cce_ray.experiments.provenance import facts
from cce_ray.runs.folder import CONFIG_FILE, locked
from cce_ray.runs.run import run_training
from cce_ray.tuning.search_settings import load_search
from cce_ray.tuning.study import Study


def save(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 40, (8, 8, 3))
    Image.fromarray((noise + value % 3 * 80).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine images of three classes."""
    for number in range(9):
        save(tmp_path / f"c{number % 3}" / f"{number}.png", number)
    return tmp_path


def check_left_out(folder: Path, *names: str) -> None:
    source = Folder(path=folder).source()
    assert len(source.samples) == 9 and source.class_names == ("c0", "c1", "c2")
    number = "the results of an earlier run" if len(names) == 1 else f"{len(names)} results of earlier runs"
    (note,) = [note for note in source.notes if "result" in note]
    assert note == f"left out {number}: {', '.join(names)}"


def test_a_second_run_in_the_folder_of_the_data_has_the_same_data(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    settings = ["data=folder", "data.path=.", "method=kmeans", "tracking.enabled=false", "name=mine"]
    settings += ["runtime.device=cpu"]
    config = load_config(None, settings)[0]
    for _ in range(2):
        summary = run_training(config)
        assert summary.scores
    assert list((photos / "cce_output").rglob("*.png")), "the runs have drawn charts"
    check_left_out(photos, "cce_output/mine", "cce_output/mine-2")


def test_a_run_that_has_just_begun_in_a_folder_of_any_name(photos: Path) -> None:
    with locked(photos / "results", resumed=False):
        (photos / "results" / CONFIG_FILE).write_text(load_config(None, [])[0].to_yaml())
        save(photos / "results" / "figures" / "curves.png")
    check_left_out(photos, "results")


def test_a_search(photos: Path) -> None:
    study = Study(load_search("digits"), photos / "out" / "digits", 3)
    (study.folder / "trials").mkdir(parents=True)
    study.save()
    save(study.folder / "plots" / "history.png")
    check_left_out(photos, "out/digits")


def test_the_charts_of_experiments(photos: Path) -> None:
    outcome = Outcome("Table 2", "text", [], picture=(photos / "c0" / "0.png").read_bytes())
    write("table2", outcome, {"facts": facts(), "seconds": 1.0}, Options(photos, photos), photos)
    check_left_out(photos, "table2.png")


RUN, MODEL = "0123456789abcdef" * 2, "m-" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("chart", "left_out"),
    [
        (f"mlartifacts/{RUN}/artifacts/curves.png", "mlartifacts"),  # beside tracking.uri=sqlite:///mlflow.db
        (f"mlartifacts/1/{RUN}/artifacts/curves.png", "mlartifacts"),  # of a server
        (f"mlartifacts/models/{MODEL}/artifacts/logo.png", "mlartifacts"),
        (f"mlruns/0/{RUN}/artifacts/curves.png", "mlruns"),
        (f"artifact store/{RUN}/artifacts/curves.png", f"artifact store/{RUN}"),
    ],
)
def test_artifacts_of_mlflow(photos: Path, chart: str, left_out: str) -> None:
    save(photos / chart)
    check_left_out(photos, left_out)


@pytest.mark.parametrize(
    "own",
    [
        {"c0/config.yaml": "data: mine\nmodel: x\n", "c0/.lock": ""},
        {"c0/config.yaml": "a run file that was copied here"},
        {"c0/search.yaml": "query: cats\n", "c0/.lock": ""},
        {"c0/summary.json": "{}", "c0/mlflow.db": ""},
        {"c0/1.md": "![a cat](1.png)"},
    ],
)
def test_a_folder_of_the_user_is_never_taken_for_results(photos: Path, own: dict[str, str]) -> None:
    for name, text in own.items():
        content = load_config(None, [])[0].to_yaml() if "copied" in text else text
        (photos / name).write_text(content)
    save(photos / "c0" / "1.png")
    assert len(list_images(photos).files) == 10 and not list_images(photos).results


def test_folders_named_like_results_are_data(tmp_path: Path) -> None:
    for name in ("mlartifacts", "mlruns", "cce_output", "figures", RUN):
        save(tmp_path / name / "0.png")
    assert len(list_images(tmp_path).files) == 5 and list_images(tmp_path).notes() == ()


def test_a_folder_of_results_that_is_asked_for_is_read(photos: Path) -> None:
    (photos / CONFIG_FILE).write_text(load_config(None, [])[0].to_yaml())
    (photos / ".lock").touch()
    assert len(list_images(photos).files) == 9
