"""The two machines that tests/integration plays on are two."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from network_namespaces import Namespace, Unavailable, two_namespaces

SERVER = """
import socket
server = socket.create_server(("", 6379))
print("open", flush=True)
while True:
    server.accept()
"""
CALL = "import socket, sys; socket.create_connection((sys.argv[1], 6379), float(sys.argv[2]))"
PATIENCE, SHORT = 3600, 2
"""Seconds for a connection that must come about, and for one that must not."""


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    try:
        with two_namespaces() as pair:
            yield pair
    except Unavailable as reason:
        pytest.skip(f"no network namespaces here: {reason}")


def reaches(prefix: list[str], address: str, seconds: int = SHORT) -> bool:
    command = [*prefix, sys.executable, "-c", CALL, address, str(seconds)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def test_they_reach_each_other_through_the_cable_and_end_with_the_power(
    pair: tuple[Namespace, Namespace],
) -> None:
    here, there = pair
    command = [*there.prefix, sys.executable, "-c", SERVER]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert server.stdout and server.stdout.readline() == b"open\n"
        assert reaches(here.prefix, there.address, PATIENCE)
        assert not reaches(here.prefix, "127.0.0.1") and not reaches(here.prefix, "192.0.2.1")
        there.plug(False)
        assert not reaches(here.prefix, there.address)
        there.plug(True)
        assert reaches(here.prefix, there.address, PATIENCE)
        assert there.processes() == [server.pid] and os.getpid() not in here.processes()
        there.kill()
        assert server.wait() == -9 and there.processes() == []
    finally:
        server.kill()
        server.wait()
