"""Full disks, foreign settings and damaged files: one line, and what was there stays."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cce_ray.cli.console import RichListener
from cce_ray.cli.entry import one_line
from cce_ray.config import load_config
from cce_ray.files.atomic import replacing, write_text
from cce_ray.files.records import read_record, write_json
from cce_ray.runs import predict_file
from cce_ray.runs.folder import CONFIG_FILE, open_folder


def test_a_full_disk_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    write_text(path, "earlier")
    with pytest.raises(OSError, match=r"model\.pt") as caught, replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
    assert one_line(caught.value) == f"{path}: No space left on device; make room on that disk and run again"
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"output": "folder.csv"}, "is a folder"),
        ({"overrides": ["optimizer.epochs=3"]}, "settings of the data only"),
        ({"device": "tpu"}, "runtime.device: input should be 'auto', 'cpu' or 'cuda', got 'tpu'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_prediction_refuses_what_it_cannot_use(
    tmp_path: Path, arguments: dict[str, object], told: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    output = tmp_path / str(arguments.pop("output", "labels.csv"))
    with pytest.raises(ValueError, match=told) as caught:
        predict_file("model.pt", "digits", output, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


@dataclass
class Score:
    accuracy: float


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"accuracy": 1, "more": 2}', "\xff"])
def test_a_damaged_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    assert read_record(path, Score) is None
    write_json(path, {"accuracy": 0.5})
    assert read_record(path, Score) == Score(0.5)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"result\.json: damaged.*; delete it"):
        read_record(path, Score)


def test_resuming_with_other_data_names_the_data_set_first(tmp_path: Path) -> None:
    stored, _ = load_config(None, [f"output_dir={tmp_path}"])
    write_text(tmp_path / CONFIG_FILE, stored.resolved().to_yaml())
    wanted, _ = load_config(None, [f"output_dir={tmp_path}", "data=mnist"])
    with pytest.raises(ValueError, match=r"data\.name: 'mnist', but the run in"):
        open_folder(wanted, resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_it_goes_on_and_is_killed_for_mlflow(
    tmp_path: Path, number: signal.Signals
) -> None:
    pytest.importorskip("mlflow")
    settings = ["optimizer.epochs=100000", "runtime.threads=1", "output_dir=run"]
    command = [sys.executable, "-m", "cce_ray.cli", "train", "digits"]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    while not (tmp_path / "run" / "seed_0" / "run_id.txt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "error: interrupted; the same command goes on with --resume"
    assert "Traceback" not in told
    store = sqlite3.connect(tmp_path / "run" / "mlflow.db")
    assert store.execute("select status from runs").fetchall() == [("KILLED",)]


def test_an_interruption_inside_code_made_from_text_has_the_same_exit_code(tmp_path: Path) -> None:
    lines = [
        "from cce_ray.cli import entry",
        "entry.app = lambda: exec('raise KeyboardInterrupt')",
        "entry.main()",
    ]
    (tmp_path / "interrupted.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "interrupted"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 130


def test_an_interruption_that_got_lost_ends_the_run_at_its_next_step() -> None:
    listener = RichListener()
    listener.seed(0, 1, 1)
    listener.step(1, 2, dict)
    with pytest.raises(KeyboardInterrupt):
        listener.interrupt()
    with pytest.raises(KeyboardInterrupt):
        listener.step(2, 2, dict)
