"""Addresses and tokens of Ray: known ailments and what is said of each, without starting Ray."""

import socket
from pathlib import Path

import pytest

from cce_ray.distributed.cluster import CONNECT_SECONDS
from cce_ray.doctor import cluster
from cce_ray.doctor.check import Check
from cce_ray.doctor.cluster import ray_address, ray_token

SECRET = "0123456789abcdef"


def token_file(home: Path) -> Path:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(SECRET)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("address", "found", "remedy"),
    [
        ("head", "head: give HOST:PORT", ""),
        ("ray://head:10001", "ray://head:10001: not an address that cce can join", "HOST:PORT"),
        ("http://head:8265", "http://head:8265: not an address that cce can join", "ray job submit"),
    ],
)
def test_addresses_that_are_none(address: str, found: str, remedy: str) -> None:
    check = ray_address(address)
    assert check.ok is False and check.found.startswith(found) and remedy in check.remedy


def test_an_address_where_nothing_listens_and_one_that_answers(
    nobody: str, attempts: list[tuple[str, float | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = ray_address(nobody)
    assert attempts == [(nobody, CONNECT_SECONDS)], "asked once, and not for Ray's minutes"
    assert check == Check(
        "ray address",
        False,
        f"{nobody}: nothing answers there (Connection refused)",
        "start a cluster with `ray start --head`, or leave the address out to use this machine",
    )
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert ray_address(address) == Check("ray address", True, f"{address} answers")
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert ray_address(None).ok
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    check = ray_address(None)
    assert check.ok is None and "for ray job submit" in check.found


def test_token_of_a_machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_token(None) == Check("ray token", None, "none: Ray makes one when it is started here")
    file = token_file(tmp_path / "home")
    assert ray_token(None) == Check("ray token", True, f"in {file}")
    file.chmod(0o644)
    monkeypatch.setattr(cluster, "seen_by_all", lambda _: True)
    assert ray_token(None).remedy == f"chmod 600 {file}"
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    assert ray_token(None) == Check("ray token", True, "in RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check = ray_token(None)
    assert check.ok is None and "can run code" in check.found and check.remedy == "unset RAY_AUTH_MODE"


def test_token_for_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray shows a token to a given address only with RAY_AUTH_MODE=token (ray/_private/worker.py)."""
    check = ray_token("head:6379")
    assert check.ok is None and check.found.startswith("none")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    check = ray_token("head:6379")
    assert check.ok is False and "no token here" in check.found and "auth_token" in check.remedy

    file = token_file(tmp_path / "home")
    assert ray_token("head:6379") == Check("ray token", True, f"in {file}")
    monkeypatch.delenv("RAY_AUTH_MODE")
    check = ray_token("head:6379")
    assert check.ok is None and check.remedy == "export RAY_AUTH_MODE=token"

    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    check = ray_token("head:6379")
    assert check.ok is False and check.found == "RAY_AUTH_TOKEN_PATH=/nowhere/token: not there, or empty"
    for check in (ray_token(None), ray_token("head:6379")):
        assert SECRET not in check.found + check.remedy
