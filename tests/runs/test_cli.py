"""The command line as a user meets it: exit codes, what is printed and what is left behind.

Processes of their own where that is what is tested; else `main()` is called here, which costs no interpreter.
"""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import cce_here, environment

from cce_ray.training import load_checkpoint

pytestmark = pytest.mark.slow

ENVIRONMENT = environment()
Run = tuple[Path, dict[str, Any]]
QUICK = ["--set", "optimizer.epochs=3", "--set", "runtime.threads=1", "--no-tracking"]


def cce(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "cce_ray.cli", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT)
    if check:
        assert result.returncode == 0, result.stderr
    return result


def here(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command in this process."""
    result = cce_here(*arguments, cwd=cwd)
    if check:
        assert result.returncode == 0, result.stderr
    return result


def last_json(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tracked two-seed run on digits, and its JSON."""
    folder = tmp_path_factory.mktemp("run")
    result = cce("train", "--seeds", "2", "--json", *QUICK[:-1], cwd=folder)
    assert result.stdout.count("\n") == 1, "with --json stdout holds the one line only"
    return folder, last_json(result)


def test_train_reports_and_leaves_everything_under_output_dir(finished: Run) -> None:
    folder, summary = finished
    assert set(summary) >= {
        *("run_ids", "method", "dataset", "scores", "scores_sd", "clusters_used", "seconds"),
        *("samples_per_second", "model", "output_dir"),
    }
    assert [path.name for path in folder.iterdir()] == ["cce_output"]
    output = folder / "cce_output" / "digits"
    assert Path(summary["output_dir"]) == output
    assert len(summary["run_ids"]) == 2
    assert set(summary["scores"]) == {"accuracy", "nmi", "ari"}
    for name in ("config.yaml", "report.html", "clusters.csv", "model.pt", "summary.json", "mlflow.db"):
        assert (output / name).stat().st_size > 0
    assert not list(output.rglob("*.tmp"))
    rows = list(csv.DictReader((output / "clusters.csv").open()))
    assert len(rows) == 1797
    assert sum(float(rows[0][f"p{k}"]) for k in range(10)) == pytest.approx(1, abs=1e-4)


def test_mlflow_holds_the_seeds_below_one_run(finished: Run) -> None:
    mlflow = pytest.importorskip("mlflow")
    _, summary = finished
    client = mlflow.MlflowClient(summary["tracking_uri"])
    parent = client.get_run(summary["parent_run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["score/accuracy"] == pytest.approx(summary["scores"]["accuracy"])
    for seed, run_id in enumerate(summary["run_ids"]):
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["runtime.seed"] == str(seed)
        steps = [m.step for m in client.get_metric_history(run_id, "loss/total")]
        assert steps == [1, 2, 3]
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "report.html", "clusters.csv"} <= names
    (version,) = client.search_model_versions("name='digits'")
    assert version.run_id == parent.info.run_id


def test_the_logged_model_labels_a_batch(finished: Run) -> None:
    pytest.importorskip("mlflow")
    folder, summary = finished
    code = (
        "import mlflow, sys, numpy as np\n"
        f"mlflow.set_tracking_uri({summary['tracking_uri']!r})\n"
        "model = mlflow.pyfunc.load_model('models:/digits/1')\n"
        "out = model.predict(np.zeros((3, 1, 8, 8), np.float32))\n"
        "print(list(out.columns)[:3], len(out), round(float(out.filter(like='p').sum(axis=1).iloc[0]), 3))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert result.stdout.splitlines()[-1] == "['cluster', 'confidence', 'p0'] 3 1.0"


def test_predict_labels_new_images_in_a_fresh_process(finished: Run, tmp_path: Path) -> None:
    from PIL import Image

    _, summary = finished
    generator = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(5):
        pixels = generator.integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(pixels).save(images / f"image{number}.png")
    (images / "broken.png").write_bytes(b"no image at all")
    output = tmp_path / "labels.csv"
    result = cce("predict", summary["output_dir"], str(images), "-o", str(output), cwd=tmp_path)
    assert "broken.png" in result.stderr
    rows = list(csv.DictReader(output.open()))
    assert [row["file"] for row in rows] == [f"image{number}.png" for number in range(5)]
    assert all(0 <= int(row["cluster"]) < 10 for row in rows)


def test_predict_agrees_between_csv_parquet_and_clusters_csv(finished: Run, tmp_path: Path) -> None:
    import pandas as pd

    _, summary = finished
    for name in ("labels.csv", "labels.parquet"):
        here("predict", summary["model"], "digits", "-o", name, cwd=tmp_path)
    table = pd.read_parquet(tmp_path / "labels.parquet")
    again = pd.read_csv(tmp_path / "labels.csv")
    kept = pd.read_csv(summary["clusters"])
    assert (table["cluster"] == again["cluster"]).all()
    assert (table["cluster"] == kept["cluster"]).all()
    assert np.allclose(table["confidence"], kept["confidence"], atol=1e-5)


def test_a_second_run_takes_the_next_name_and_an_explicit_folder_is_never_overwritten(tmp_path: Path) -> None:
    arguments = ["train", *QUICK, "--set", "method=kmeans", "--json"]
    first, second = (last_json(here(*arguments, cwd=tmp_path)) for _ in range(2))
    assert Path(first["output_dir"]).name == "digits"
    assert Path(second["output_dir"]).name == "digits-2"
    before = (Path(first["output_dir"]) / "summary.json").read_bytes()
    result = here(*arguments, "--set", f"output_dir={first['output_dir']}", cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "--resume" in result.stderr
    assert (Path(first["output_dir"]) / "summary.json").read_bytes() == before


def test_resuming_a_finished_run_does_nothing_twice(finished: Run) -> None:
    folder, summary = finished
    again = here("train", "--seeds", "2", "--json", "--resume", *QUICK[:-1], cwd=folder)
    assert last_json(again) == summary
    assert "finished already" in again.stderr


KILLED = """
import os, signal
from cce_ray.training import context

def save_and_die(path, state, save=context.save_checkpoint):
    save(path, state)
    if tuple(state["position"])[:2] == (2, 1):  # in the middle of an epoch
        os.kill(os.getpid(), signal.SIGKILL)

context.save_checkpoint = save_and_die
from cce_ray.cli import main; main()
"""


def test_kill_dash_nine_and_resume_ends_with_the_same_bits(tmp_path: Path) -> None:
    settings = ["--set", "runtime.threads=1", "--set", "runtime.checkpoint_seconds=0"]
    settings += ["--set", "optimizer.epochs=8", "--json"]
    whole = last_json(here("train", *settings, "--set", "output_dir=whole", "--no-tracking", cwd=tmp_path))
    arguments = ["train", *settings, "--set", "output_dir=killed"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=tmp_path, env=ENVIRONMENT)
    assert killed.returncode == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "killed" / "seed_0" / "checkpoint.pt")["position"][:2] == [2, 1]
    resumed = last_json(here(*arguments, "--resume", cwd=tmp_path))
    states = [torch.load(run["model"], weights_only=True)["state"] for run in (whole, resumed)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert resumed["scores"] == whole["scores"]
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(resumed["tracking_uri"])
    runs = client.search_runs([client.get_run(resumed["run_ids"][0]).info.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"]
    steps = [m.step for m in client.get_metric_history(resumed["run_ids"][0], "loss/total")]
    assert steps == list(range(1, 9))


def test_resume_with_another_configuration_names_the_key(tmp_path: Path) -> None:
    here("train", *QUICK, "--set", "method=kmeans", cwd=tmp_path)
    result = here(
        "train",
        *QUICK,
        "--set",
        "method=kmeans",
        "--set",
        "method.restarts=2",
        "--resume",
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    assert "method.restarts: 2" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--set", "optimizer.epoch=3"], ["optimizer.epoch", "optimizer.epochs"]),
        (["train", "nowhere.yaml"], ["nowhere.yaml"]),
        (["train", "nowhere"], ["nowhere", "digits", "features"]),
        (["train", "features"], ["data.path"]),
        (["train", "features", "--set", "data.path=gone.npy"], ["gone.npy"]),
        (["train", "--set", "data.num_clusters=1800"], ["data.num_clusters", "1800"]),
        (["train", "--set", "optimizer.batch_size=5000"], ["optimizer.batch_size", "1797"]),
        (["train", "--set", "runtime.device=tpu"], ["runtime.device", "tpu"]),
        (["train", "--resume"], ["output_dir", "--resume"]),
        (["train", "--set", "data=folder", "--set", "data.path=."], ["data.path"]),
        (["train", "--set", "tracking.uri=ftp://x"], ["tracking.uri"]),
        (["train", "--set", "output_dir=/proc/nowhere"], ["output_dir", "/proc/nowhere"]),
        (["config", "--set", "method.fairness_weight=0"], ["method.fairness_weight", "0"]),
        (["predict", "gone.pt", "digits", "-o", "x.csv"], ["gone.pt"]),
        (["predict", "gone.pt", "digits", "-o", "x.txt"], [".csv or .parquet"]),
        (["predict", "gone.pt", "digits", "-o", "no/such/folder/x.csv"], ["no/such/folder"]),
    ],
    ids=lambda value: " ".join(value) if value[0] in ("train", "config", "predict") else "",
)
def test_a_mistake_is_one_line_exit_two_and_leaves_nothing(
    tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    result = here(*arguments, cwd=tmp_path, check=False)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0], errors[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_asked_for_where_there_is_none(tmp_path: Path) -> None:
    result = here("train", "--set", "runtime.device=cuda", cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "runtime.device" in result.stderr


def test_version_and_config_print_to_stdout(tmp_path: Path) -> None:
    import yaml

    from cce_ray import __version__

    assert cce("--version", cwd=tmp_path).stdout.strip() == f"cce_ray {__version__}"
    resolved = yaml.safe_load(here("config", cwd=tmp_path).stdout)
    assert resolved["data"]["name"] == "digits"
    assert resolved["runtime"]["threads"] >= 1


@pytest.mark.parametrize("missing", ["mlflow", "ray"])
def test_training_works_without_mlflow_and_without_ray(tmp_path: Path, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "sys.argv = ['cce', 'train', '--set', 'method=kmeans', '--set', 'runtime.threads=1']\n"
        "from cce_ray.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "cce_output" / "digits" / "report.html").exists()
