"""A run again: from its own record, and after its results could not be written."""

import os
from pathlib import Path

import pyarrow.csv
import pytest

from cce_ray.config import load_config
from cce_ray.runs import Listener, load_run, run_training
from cce_ray.runs.folder import occupied

QUICK = {
    "optimizer.epochs": 1,
    "optimizer.batch_size": 200,
    "data.limit": 400,
    "model": "linear",
    "runtime.threads": 1,
    "tracking.enabled": False,
}


class Warned(Listener):
    """What was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


@pytest.mark.parametrize("named", [True, False])
def test_the_record_of_a_run_repeats_it_into_the_next_free_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = QUICK | ({"output_dir": "mine"} if named else {})
    first = run_training(load_run("digits", changes)[0])
    record = Path(first.output_dir) / "config.yaml"
    for number in (2, 3):
        config, notes = load_run(str(record))
        again = run_training(config)
        expected = f"{first.output_dir}-{number}"
        assert again.output_dir == str(Path(expected).absolute())
        assert notes == (
            [f"{record} is the record of a run: repeating it into {Path(expected).absolute()}"]
            if named
            else []
        )
        assert again.scores == first.scores
    # With --resume it is the very run that is meant, not the last of that name.
    config, _ = load_run(str(record), resume=True)
    assert Path(config.output_dir) == Path(first.output_dir).absolute()
    assert run_training(config, resume=True).output_dir == str(Path(first.output_dir).absolute())
    elsewhere, _ = load_run(str(record), [f"output_dir={tmp_path / 'there'}"])
    assert elsewhere.output_dir == str(tmp_path / "there")


def test_a_file_of_ones_own_called_config_is_a_run_file_like_others(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"output_dir: {tmp_path / 'taken'}\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    config, notes = load_run(str(tmp_path / "config.yaml"))
    assert config.output_dir == str(tmp_path / "taken") and notes == []
    with pytest.raises(ValueError, match="already holds a run"):
        run_training(config)


def test_what_a_file_system_keeps_in_its_root_occupies_nothing(tmp_path: Path) -> None:
    for name in ("lost+found", ".Trash-1000"):
        (tmp_path / name).mkdir()
    (tmp_path / ".DS_Store").touch()
    assert not occupied(tmp_path) and not occupied(tmp_path / "nothing")
    run_training(load_config(None, QUICK | {"output_dir": str(tmp_path)})[0])
    assert (tmp_path / "clusters.csv").exists() and (tmp_path / "lost+found").is_dir()
    assert occupied(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert occupied(tmp_path / "dangling") and occupied(tmp_path / ".DS_Store")


@pytest.mark.parametrize("part", ["write_predictions", "write_report"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_results_that_could_not_be_written_are_written_by_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, seeds: int
) -> None:
    config = load_config(None, QUICK | {"output_dir": str(tmp_path / "run")})[0]

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    listener = Warned()
    with monkeypatch.context() as broken:
        broken.setattr(f"cce_ray.runs.artifacts.{part}", fail)
        with pytest.raises(OSError, match="No space"):
            run_training(config, seeds=seeds, listener=listener)
    assert [said for said in listener.said if "the training is complete and kept in" in said]
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/seed_*/model.pt")}
    assert len(trained) == seeds
    summary = run_training(config, seeds=seeds, resume=True)
    assert len(pyarrow.csv.read_csv(summary.clusters)) == 400 and Path(summary.report).exists()
    assert {path: path.stat().st_mtime_ns for path in trained} == trained, "nothing is trained twice"


def test_file_names_of_any_bytes_come_out_in_every_result(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / f"{number:02}.png")
    (tmp_path / "11.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "10.png").rename(tmp_path / 'été, "1".png')
    changes = {
        "data": "folder",
        "data.path": str(tmp_path),
        "data.num_clusters": 2,
        "optimizer.batch_size": 6,
    }
    config = load_config(None, QUICK | changes | {"data.limit": None, "output_dir": str(tmp_path / "run")})[0]
    summary = run_training(config)
    names = pyarrow.csv.read_csv(summary.clusters)["file"].to_pylist()
    assert names[-2:] == ["caf\\xe9.png", 'été, "1".png']
    assert Path(summary.report).exists()
