"""What `import cce_ray` gives: train, predict, load_model and the rest, as a program uses them."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import cce_ray
from cce_ray.runs import RunSummary

QUICK: dict[str, Any] = {
    "optimizer.epochs": 2,
    "optimizer.batch_size": 50,
    "runtime.threads": 1,
    "tracking.enabled": False,
}


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(center, size=(100, 4)) for center in (-3, 0, 3)]).astype(np.float32)


@pytest.fixture(scope="module")
def run(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    folder = tmp_path_factory.mktemp("api")
    pd.DataFrame(rows, columns=list("abcd")).to_parquet(folder / "rows.parquet")
    data = {"data.path": folder / "rows.parquet", "data.num_clusters": 3, "output_dir": folder / "run"}
    return cce_ray.train("features", {key: str(value) for key, value in data.items()} | QUICK)


def test_the_names_are_there_and_load_nothing_heavy() -> None:
    assert set(dir(cce_ray)) == set(cce_ray.__all__)
    for name in cce_ray.__all__:
        assert getattr(cce_ray, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        cce_ray.trian  # noqa: B018
    code = "import cce_ray, sys; print(*{'torch', 'ray', 'mlflow', 'numba', 'pydantic'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_a_model_is_found_in_its_runs_folder_and_in_its_file(run: RunSummary) -> None:
    for where in (run.output_dir, run.model, Path(run.model)):
        model = cce_ray.load_model(where)
        assert (model.num_clusters, model.input_shape) == (3, (4,))
    with pytest.raises(ValueError, match="'nowhere' is not a file"):
        cce_ray.load_model("nowhere")


def test_samples_in_memory_and_in_files_get_the_same_labels(run: RunSummary, rows: np.ndarray) -> None:
    model = cce_ray.load_model(run.output_dir)
    written = pd.read_csv(run.clusters)
    expected = model.predict(rows)
    assert expected.ids.tolist() == list(range(300))
    assert expected.probabilities.shape == (300, 3) and expected.probabilities.dtype == np.float32
    np.testing.assert_array_equal(expected.clusters, written["cluster"])
    np.testing.assert_allclose(expected.confidence, written["confidence"], atol=1e-6)
    table = pd.DataFrame(rows, columns=list("abcd"), index=[f"row {i}" for i in range(300)])
    file = Path(run.output_dir).parent / "rows.parquet"
    for data in (rows, torch.from_numpy(rows), rows.astype(np.float64), table, table[list("dbca")], file):
        labels = cce_ray.predict(model, data)
        np.testing.assert_allclose(labels.probabilities, expected.probabilities, atol=1e-6)
    assert cce_ray.predict(model, table).ids[1] == "row 1"
    assert len(model.predict(rows[:0])) == 0


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (np.zeros((2, 3)), r"^samples: shape \(2, 3\) does not fit the model; give \(n, 4\)$"),
        (np.zeros(4), r"^samples: shape \(4,\) does not fit"),
        (np.array([["a"] * 4]), "^samples: <U1 holds no numbers"),
        (np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]]), "^samples: row 1 holds NaN or infinity"),
        (pd.DataFrame(np.zeros((2, 4)), columns=list("abce")), "^samples: column 'd' of the model is not in"),
    ],
)
def test_samples_that_a_model_cannot_take_are_refused(run: RunSummary, samples: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        cce_ray.predict(run.output_dir, samples)
    assert "\n" not in str(caught.value)


def test_settings_of_the_data_are_for_files(run: RunSummary, rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^changes: data\.key is of no use to samples in memory"):
        cce_ray.predict(run.output_dir, rows, {"data.key": "x"})
    with pytest.raises(ValueError, match="takes settings of the data only"):
        cce_ray.predict(run.output_dir, "digits", {"runtime.seed": 1})


def test_a_configuration_trains_and_warnings_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = cce_ray.RunConfig().with_(QUICK | {"optimizer.epochs": 1, "output_dir": str(tmp_path / "run")})
    with caplog.at_level(logging.WARNING, "cce_ray"):
        summary = cce_ray.train(config, {"data.limit": 100, "optimizer.learning_rate": 1e-9})
    assert summary.dataset == "digits" and Path(summary.report).exists()
    assert "counts as collapsed" in caplog.text
    with pytest.raises(ValueError, match=r"^output_dir: .*already holds a run"):
        cce_ray.train(config)
    with pytest.raises(ValueError, match=r"^address: auto, but the run has no workers"):
        cce_ray.train(config, address="auto")
    with pytest.raises(ValueError, match=r"did you mean optimizer\.epochs"):
        cce_ray.train("digits", {"optimizer.epoch": 1})


def test_a_search_that_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a search space file nor a built-in one"):
        cce_ray.tune("digit", {"output_dir": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
