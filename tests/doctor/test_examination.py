"""`cce doctor` as a whole: all its checks, its exit codes and its JSON, without starting Ray."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from cce_ray.doctor import Check, doctor, examination, run_checks
from cce_ray.doctor.software import LIBRARIES


def test_a_clean_folder_is_fine_and_stays_empty(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.name: check for check in run_checks()}
    assert {"python", "cce_ray", *LIBRARIES} <= set(checks)
    machine = {"cuda", "memory", "working folder", "/tmp"}  # as it happens to be
    assert [check for check in checks.values() if check.ok is False and check.name not in machine] == []
    assert not any(check.found.startswith("cannot be checked") for check in checks.values())
    assert not any("\n" in check.found + check.remedy for check in checks.values())
    assert checks["ray"] == Check("ray", True, metadata.version("ray"))
    assert checks["ray address"].found == "none: Ray is started on this machine"
    assert checks["mlflow store"] == Check(
        "mlflow store", True, f"mlflow.db in every run's own folder, below {clean}/cce_output"
    )
    assert list(clean.iterdir()) == [], "the trial of the store leaves nothing behind"
    assert capsys.readouterr().out == ""


def test_exit_codes_table_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("a", True, "[bold]1"), Check("b", None, "2"), Check("c", None, "3", "look")]
    monkeypatch.setattr(examination, "run_checks", lambda *_: checks)
    assert doctor() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["ok", "a", "[bold]1"], ["-", "b", "2"]]
    assert lines[2:] == [["note", "c", "3"], ["->", "look"], ["nothing", "broken,", "1", "to", "note"]]

    checks.append(Check("d", False, "4", "mend it"))
    assert doctor(json=True) == 2
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["ok"] is False
    assert report["checks"][3] == {"name": "d", "ok": False, "found": "4", "remedy": "mend it"}


def test_every_check_is_given_what_was_asked_for(
    nobody: str, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(nobody, clean / "nowhere", "./mlruns", json=True) == 2
    ill = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"] if check["ok"] is False]
    assert [name for name in ill if name in ("ray address", "mlflow store", "data sets")] == [
        "ray address",
        "mlflow store",
        "data sets",
    ]
