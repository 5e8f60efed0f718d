"""Two machines on one: network namespaces joined by a cable, each with an address, ports and a loopback of
its own. Needs Linux, root and iproute2's `ip`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

INTERFACE = "eth0"
"""The cable's end in either namespace."""


class Unavailable(Exception):
    """This machine gives no network namespaces; says why."""


@dataclass(frozen=True)
class Namespace:
    """One of the two. What happens in it, other processes on this machine do not see on their network."""

    name: str
    address: str

    @property
    def prefix(self) -> list[str]:
        """In front of a command it runs the command in here."""
        return ["ip", "netns", "exec", self.name]

    def processes(self) -> list[int]:
        """The ids of all processes in here, whoever started them and in whatever process group."""
        return [int(word) for word in run("ip", "netns", "pids", self.name).split()]

    def kill(self) -> None:
        """SIGKILL to all of them, as a power cut does; returns when none is left."""
        while processes := self.processes():
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.02)

    def plug(self, connected: bool) -> None:
        """Put the cable in, or pull it out: connections then neither work nor end."""
        run("ip", "-n", self.name, "link", "set", INTERFACE, "up" if connected else "down")


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces that reach each other and nothing else. All that runs in them ends with the block.

    Raises Unavailable where the machine does not allow it.
    """
    if not shutil.which("ip"):
        raise Unavailable("there is no `ip` (Linux, package iproute2)")
    pair = tuple(Namespace(f"cce-{os.getpid()}-{end}", f"10.77.0.{end}") for end in (1, 2))
    first, second = pair
    made: list[Namespace] = []
    try:
        try:
            for space in pair:
                run("ip", "netns", "add", space.name)
                made.append(space)
            peer = ("peer", "name", INTERFACE, "netns", second.name)
            run("ip", "link", "add", INTERFACE, "netns", first.name, "type", "veth", *peer)
            for space in pair:
                run("ip", "-n", space.name, "address", "add", f"{space.address}/24", "dev", INTERFACE)
                run("ip", "-n", space.name, "link", "set", "lo", "up")
                space.plug(True)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"`{' '.join(error.cmd)}` failed: {error.stderr.strip()}") from None
        yield first, second
    finally:
        for space in made:
            space.kill()
            run("ip", "netns", "delete", space.name)


def run(*command: str) -> str:
    """What the command prints. CalledProcessError if it fails."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
