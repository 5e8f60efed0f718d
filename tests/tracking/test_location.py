"""Which store a URI names, and how a bad one is found before MLflow tries for minutes."""

import socket
import sqlite3
from pathlib import Path

import pytest

from cce_ray.tracking import location
from cce_ray.tracking.location import check, locate


def test_default_is_an_absolute_sqlite_file_in_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = locate(None, Path("out"), {})
    assert place.uri == f"sqlite:///{tmp_path}/out/mlflow.db"
    assert place.artifacts == f"file://{tmp_path}/out/mlartifacts"
    assert place.database == tmp_path / "out/mlflow.db"
    assert place.ui == f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/out/mlflow.db"


def test_setting_beats_environment_beats_default(tmp_path: Path) -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://env:5000"}
    assert locate(None, tmp_path, environment).uri == "http://env:5000"
    assert locate("http://mine:5000", tmp_path, environment).uri == "http://mine:5000"
    assert locate(None, tmp_path, {"MLFLOW_TRACKING_URI": ""}).database == tmp_path / "mlflow.db"


def test_a_relative_sqlite_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = locate("sqlite:///deep/runs.db", tmp_path / "out", {})
    assert place.uri == f"sqlite:///{tmp_path}/deep/runs.db"
    assert place.artifacts == f"file://{tmp_path}/deep/mlartifacts"


def test_a_server_decides_where_its_artifacts_lie(tmp_path: Path) -> None:
    place = locate("https://tracking.example", tmp_path, {})
    assert place.artifacts is None
    assert place.database is None
    assert place.ui == "https://tracking.example"
    assert place.page("7") == "https://tracking.example/#/experiments/7?workflowType=machine_learning"
    assert locate("databricks", tmp_path, {}).page("7") is None


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "sqlite:///:memory:", "ftp://x"]
)
def test_stores_that_keep_nothing_or_are_gone_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^tracking\.uri: .*sqlite:///FILE\.db") as caught:
        locate(uri, tmp_path, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["postgresql://me:se:cret@host/base", "https://me:se:cret@host:5000"])
def test_a_password_is_used_but_not_shown(uri: str, tmp_path: Path) -> None:
    place = locate(uri, tmp_path, {})
    assert place.uri == uri
    for text in (place.shown, place.ui, place.page("1") or ""):
        assert "cret" not in text
    assert "me:***@host" in place.shown
    assert locate("http://host:5000", tmp_path, {}).shown == "http://host:5000"


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_an_absent_server_is_asked_once_and_mlflow_not_at_all(
    scheme: str,
    tmp_path: Path,
    attempts: list[tuple[str, float | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ValueError, match=r"no server answers at 127\.0\.0\.1"):
        check(locate(f"{scheme}://{address}/db", tmp_path, {}))
    assert attempts == [(address, location._TIMEOUT_SECONDS)]


def test_an_answering_server_and_a_fresh_file_pass(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        check(locate(f"http://127.0.0.1:{server.getsockname()[1]}", tmp_path, {}))
    check(locate(None, tmp_path / "new" / "folder", {}))
    with pytest.raises(ValueError, match="no valid port"):
        check(locate("http://127.0.0.1:port", tmp_path, {}))


def test_a_file_of_another_kind_is_named_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("shopping list, long enough to be no empty database " * 10)
    before = other.read_text()
    with pytest.raises(ValueError, match=r"notes\.txt cannot be used") as caught:
        check(locate(f"sqlite:///{other}", tmp_path, {}))
    assert "\n" not in str(caught.value)
    assert other.read_text() == before
    with pytest.raises(ValueError, match="cannot be used"):
        check(locate(f"sqlite:///{other}/below.db", tmp_path, {}))


def test_checking_leaves_an_existing_database_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE kept (x)")
    check(locate(None, tmp_path, {}))
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.mark.parametrize("name", ["run #7", "a?b", "c%20d", "it's é", "plain"])
def test_the_store_of_any_folder_is_the_file_that_sqlalchemy_opens(tmp_path: Path, name: str) -> None:
    from sqlalchemy.engine import make_url

    location = locate(None, tmp_path / name, {})
    assert location.database == tmp_path / name / "mlflow.db"
    assert make_url(location.uri).database == str(location.database)
    assert locate(location.uri, tmp_path, {}) == location
