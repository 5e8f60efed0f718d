"""The MLflow tracker against a real SQLite store."""

import logging
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cce_ray.models import MODELS, save_classifier
from cce_ray.tracking import TrackingSettings, make_tracker
from cce_ray.tracking.mlflow_loading import download_model
from cce_ray.tracking.mlflow_tracker import MLflowRun, MLflowTracker

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the module: making one takes seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def tracker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MLflowTracker]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = make_tracker(TrackingSettings(register_model="clusters"), folder)
    assert isinstance(made, MLflowTracker)
    yield made


def _client(tracker: MLflowTracker) -> "mlflow.MlflowClient":
    return mlflow.MlflowClient(tracker.location)


def _history(tracker: MLflowTracker, run_id: str | None, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in _client(tracker).get_metric_history(run_id, key)]


def test_a_run_keeps_parameters_tags_metrics_and_status(tracker: MLflowTracker) -> None:
    parent = tracker.start_run("parent")
    params = {f"section.key{i}": i for i in range(150)} | {
        "none": None,
        "flag": True,
        "long": "x" * 9000,
        "text": "a",
    }
    run = tracker.start_run("child", params=params, tags={"device": "cpu"}, parent_id=parent.id)
    run.log_metrics({"loss/total": 1.5, "score/accuracy": None}, 0)
    run.log_metrics({"loss/total": float("nan")}, 1)
    run.finish()
    parent.finish("KILLED")
    stored = _client(tracker).get_run(run.id)
    assert len(stored.data.params) == len(params)
    assert stored.data.params["section.key149"] == "149"
    assert (stored.data.params["none"], stored.data.params["flag"], stored.data.params["text"]) == (
        "null",
        "true",
        "a",
    )
    assert len(stored.data.params["long"]) == 6000
    assert stored.data.tags["device"] == "cpu"
    assert stored.data.tags["mlflow.parentRunId"] == parent.id
    assert stored.info.run_name == "child"
    assert tracker.page is not None and f"/#/experiments/{stored.info.experiment_id}?" in tracker.page
    assert stored.info.status == "FINISHED" and stored.info.end_time is not None
    assert _client(tracker).get_run(parent.id).info.status == "KILLED"
    assert [step for step, _ in _history(tracker, run.id, "loss/total")] == [0, 1]
    assert _history(tracker, run.id, "score/accuracy") == []


def test_artifacts_lie_below_the_output_folder(tracker: MLflowTracker, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_bytes(b"png")
    (tmp_path / "config.yaml").write_text("name: run")
    run = tracker.start_run("artifacts")
    run.log_artifacts([tmp_path / "config.yaml"])
    run.log_artifacts([tmp_path / "curves.png"], "figures")
    run.finish()
    assert [item.path for item in _client(tracker).list_artifacts(run.id)] == ["config.yaml", "figures"]
    assert len(list((folder / "mlartifacts").rglob("figures/curves.png"))) == 1


def test_a_resumed_run_never_holds_a_step_twice(tracker: MLflowTracker) -> None:
    first = tracker.start_run("resumed", params={"a": 1})
    for epoch in range(4):
        first.log_metrics({"loss/total": float(epoch), "score/nmi": 0.1 if epoch == 3 else None}, epoch)
    again = tracker.start_run("resumed", params={"a": 2, "b": 3}, run_id=first.id)
    assert again.id == first.id
    for epoch in range(2, 6):
        again.log_metrics({"loss/total": 100.0 + epoch, "score/nmi": 0.9}, epoch)
    again.finish()
    assert sorted(_history(tracker, first.id, "loss/total")) == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 104),
        (5, 105),
    ]
    assert sorted(_history(tracker, first.id, "score/nmi")) == [(2, 0.9), (3, 0.1), (4, 0.9), (5, 0.9)]
    assert _client(tracker).get_run(first.id).data.params == {"a": "1", "b": "3"}


def test_a_lost_run_is_replaced_with_a_warning(
    tracker: MLflowTracker, caplog: pytest.LogCaptureFixture
) -> None:
    deleted = tracker.start_run("deleted")
    _client(tracker).delete_run(deleted.id)
    for gone in ("0" * 32, deleted.id):
        caplog.clear()
        run = tracker.start_run("new", run_id=gone)
        assert run.id not in (gone, None)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        run.finish()


def test_an_outage_warns_once_and_loses_no_metric(
    tracker: MLflowTracker, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracker.start_run("outage")
    run.log_metrics({"loss/total": 0.0}, 0)
    _rename_table(folder, "metrics", "gone")
    try:
        run.log_metrics({"loss/total": 1.0}, 1)
        run.log_metrics({"loss/total": 2.0}, 2)
        run.log_artifacts([tmp_path / "absent"])
    finally:
        _rename_table(folder, "gone", "metrics")
    run.log_metrics({"loss/total": 3.0}, 3)
    run.finish()
    assert _history(tracker, run.id, "loss/total") == [(0, 0), (1, 1), (2, 2), (3, 3)]
    messages = [record.message for record in caplog.records]
    assert [message.partition(":")[0] for message in messages] == [
        "MLflow could not take metrics",
        "MLflow could not take artifacts",
    ]
    assert not any("\n" in message for message in messages)


def test_an_outage_between_runs_costs_the_log_and_not_the_work(
    tracker: MLflowTracker, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = tracker.start_run("first")
    first.finish()
    fresh = make_tracker(TrackingSettings(), folder)
    _rename_table(folder, "runs", "gone")
    try:
        with pytest.raises(ValueError, match=r"tracking\.uri"):
            fresh.start_run("nothing is lost yet")
        assert tracker.start_run("first", run_id=first.id).id is None
        assert tracker.start_run("second").id is None
    finally:
        _rename_table(folder, "gone", "runs")
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "MLflow could not take run first",
        "MLflow could not take run second",
    ]
    assert tracker.start_run("third").id is not None


def _rename_table(folder: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.commit()


def test_a_deleted_experiment_is_refused_with_the_remedy(tracker: MLflowTracker, folder: Path) -> None:
    made = MLflowTracker(TrackingSettings(experiment="old"), folder)
    experiment = _client(made).get_experiment_by_name("old")
    _client(made).delete_experiment(experiment.experiment_id)
    with pytest.raises(ValueError, match=r"^tracking\.experiment: 'old' was deleted .* restore"):
        MLflowTracker(TrackingSettings(experiment="old"), folder)


def test_a_foreign_database_is_refused_in_one_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE experiments (mine)")
        connection.commit()
    with pytest.raises(ValueError, match=r"^tracking\.uri: MLflow cannot use sqlite") as caught:
        MLflowTracker(TrackingSettings(), tmp_path)
    assert "\n" not in str(caught.value)


def _save(name: str, shape: tuple[int, ...], path: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = MODELS[name]()
    classifier = settings.build(shape, 4)
    save_classifier(path, classifier, settings=settings, metadata={})
    return classifier.eval()


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [("cnn", (1, 8, 8), "float32"), ("cnn", (3, 9, 9), "uint8"), ("linear", (6,), "float32")],
)
def test_the_logged_model_labels_new_data(
    name: str, shape: tuple[int, ...], dtype: str, tracker: MLflowTracker, tmp_path: Path
) -> None:
    classifier = _save(name, shape, tmp_path / "model.pt")
    generator = np.random.default_rng(0)
    batch = (
        generator.integers(0, 256, (7, *shape)).astype(dtype)
        if dtype == "uint8"
        else generator.random((7, *shape), dtype)
    )
    run = tracker.start_run("model")
    uri = run.log_model(tmp_path / "model.pt", input_example=batch[:2], num_clusters=4)
    run.finish()
    assert uri is not None and uri.startswith("models:/clusters/")
    model = _load(tracker, uri)
    table = model.predict(batch)
    assert list(table.columns) == ["cluster", "confidence", "p0", "p1", "p2", "p3"]
    assert table["cluster"].dtype == np.int64
    with torch.inference_mode():
        expected = torch.softmax(classifier(torch.from_numpy(batch)), -1).numpy()
    np.testing.assert_allclose(table[["p0", "p1", "p2", "p3"]].to_numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(table["cluster"], expected.argmax(1))
    np.testing.assert_allclose(table["confidence"], expected.max(1), atol=1e-6)
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, *shape)
    assert model.input_example.shape == (2, *shape)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        model.predict(batch[:, :0])
    assert _load(tracker, f"runs:/{run.id}/model").predict(batch[:1])["cluster"][0] == table["cluster"][0]


@pytest.mark.parametrize(
    ("store", "told"),
    [("sqlite:///{}/none.db", "there is no MLflow store"), ("http://127.0.0.1:9", "no server answers")],
)
def test_a_model_is_not_fetched_from_a_store_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, told: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(tmp_path))
    with pytest.raises(ValueError, match=told) as caught:
        download_model("models:/clusters/1")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_the_store_does_not_hold(
    tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tracker.location))
    with pytest.raises(ValueError, match="models:/nobody/1 cannot be fetched from sqlite"):
        download_model("models:/nobody/1")


def _load(tracker: MLflowTracker, uri: str) -> "mlflow.pyfunc.PyFuncModel":
    """As a user would, leaving the global URI as it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", str(tracker.location))
        return mlflow.pyfunc.load_model(uri)


def test_embeddings_come_as_a_data_frame_too(tracker: MLflowTracker, tmp_path: Path) -> None:
    _save("linear", (6,), tmp_path / "model.pt")
    table = pd.DataFrame(np.random.default_rng(0).random((5, 6), np.float32), index=list("abcde"))
    run = tracker.start_run("frame")
    uri = run.log_model(tmp_path / "model.pt", input_example=table.to_numpy()[:1], num_clusters=4)
    run.finish()
    assert uri is not None
    model = _load(tracker, uri)
    np.testing.assert_array_equal(model.predict(table)["p0"], model.predict(table.to_numpy())["p0"])
    unwrapped = model.unwrap_python_model()
    result = unwrapped.predict(None, table.astype("float64"))
    assert list(result.index) == list("abcde")
    assert len(unwrapped.predict(None, table.iloc[:0])) == 0
    with pytest.raises(ValueError, match=r"\(n, 6\)"):
        unwrapped.predict(None, np.zeros((2, 5), np.float32))


def test_a_served_table_is_read_by_the_names_of_its_columns(tracker: MLflowTracker, tmp_path: Path) -> None:
    _save("linear", (4,), tmp_path / "model.pt")
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    table = pd.DataFrame(rows, columns=["f0", "f1", "f2", "f3"])
    run = tracker.start_run("names")
    uri = run.log_model(tmp_path / "model.pt", input_example=table[:1], num_clusters=4)
    run.finish()
    assert uri is not None
    model = _load(tracker, uri)
    expected = model.predict(table)["p0"]
    other = table[["f3", "f1", "f0", "f2"]].assign(extra=1.0).astype("float64").assign(extra="text")
    np.testing.assert_allclose(model.predict(other)["p0"], expected, rtol=1e-6)
    with pytest.raises(Exception, match="f0"):
        model.predict(table.rename(columns={"f0": "g0"}))


def test_a_missing_model_file_is_a_warning(
    tracker: MLflowTracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracker.start_run("missing")
    assert (
        run.log_model(tmp_path / "absent.pt", input_example=np.zeros((1, 3), "float32"), num_clusters=2)
        is None
    )
    run.finish()
    assert "MLflow could not take the model" in caplog.text


def test_mlflow_is_quiet_and_the_users_logging_stays(
    tracker: MLflowTracker,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    warnings.simplefilter("always")
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    _save("linear", (6,), tmp_path / "model.pt")
    run = tracker.start_run("quiet")
    run.log_metrics({"loss/total": 1.0}, 0)
    run.log_artifacts([tmp_path / "model.pt"])
    uri = run.log_model(tmp_path / "model.pt", input_example=np.zeros((1, 6), "float32"), num_clusters=4)
    run.finish()
    assert uri is not None
    _load(tracker, uri)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn if "mlflow" in warning.filename] == []
    assert levels == {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    assert mlflow.active_run() is None
    assert str(tracker.location) not in mlflow.get_tracking_uri()
    assert isinstance(run, MLflowRun)


@pytest.mark.slow
def test_processes_that_open_a_cold_store_together_all_survive(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cce_ray.tracking import TrackingSettings, make_tracker\n"
        "run = make_tracker(TrackingSettings(), Path(sys.argv[1])).start_run(sys.argv[2])\n"
        "run.log_metrics({'a': 1.0}, 0); run.finish()"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), f"worker-{i}"], stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [(worker.returncode, error) for worker, error in zip(workers, errors, strict=True)] == [
        (0, "")
    ] * 2
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("cce_ray")
    assert len(client.search_runs([experiment.experiment_id])) == 2
