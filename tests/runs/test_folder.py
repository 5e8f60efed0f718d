"""The folder of a run: one writer at a time, and nobody's results but one's own are ever removed."""

from pathlib import Path

import pytest

from cce_ray.runs.folder import CONFIG_FILE, locked


class Failed(Exception):
    """Whatever goes wrong before a run has begun."""


def test_a_failed_start_removes_what_it_made_and_nothing_else(tmp_path: Path) -> None:
    folder, neighbour = tmp_path / "made" / "here" / "mine", tmp_path / "made" / "other"
    with pytest.raises(Failed), locked(folder, resumed=False):
        neighbour.mkdir()  # another run, begun beside this one
        (neighbour / CONFIG_FILE).write_text("name: other\n")
        raise Failed
    assert not folder.parent.exists()
    assert (neighbour / CONFIG_FILE).exists()


def test_a_failed_start_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(Failed), locked(tmp_path / "made" / "mine", resumed=False):
        raise Failed
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_began_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Failed), locked(tmp_path / "mine", resumed=False):
        (tmp_path / "mine" / CONFIG_FILE).write_text("name: mine\n")
        raise Failed
    assert (tmp_path / "mine" / CONFIG_FILE).exists()


def test_a_second_writer_is_refused_and_removes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with locked(folder, resumed=False):
        (folder / "mlflow.db").touch()
        with pytest.raises(ValueError, match="another process is writing"), locked(folder, resumed=True):
            pass
        assert (folder / "mlflow.db").exists()
        (folder / CONFIG_FILE).write_text("name: mine\n")
    with pytest.raises(ValueError, match="another run was faster"), locked(folder, resumed=False):
        pass
    with locked(folder, resumed=True):
        pass
