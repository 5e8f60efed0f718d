"""torch.distributed's group of Ray Train's workers, over the network that Ray itself uses."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import Any

import ray
from ray.train.torch import TorchConfig

_SIOCGIFADDR = 0x8915


class GroupConfig(TorchConfig):
    """Ray's, after every worker has been told its interface.

    Gloo listens where the host's own name leads, which on Debian is 127.0.1.1: workers on other machines
    would find nobody.
    """

    @property
    def backend_cls(self) -> Any:
        """Ray's back end with one step before its start."""
        base = super().backend_cls

        class GroupBackend(base):  # type: ignore[misc,valid-type]
            def on_start(self, worker_group: Any, backend_config: Any) -> None:
                worker_group.execute(_choose_interface)
                super().on_start(worker_group, backend_config)

        return GroupBackend


def _choose_interface() -> None:
    """Have gloo use the interface that carries this node's address in Ray, unless the user has named one."""
    address = ray.util.get_node_ip_address()
    for name, found in interfaces().items():
        if found == address:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interfaces() -> dict[str, str]:
    """{name: IPv4 address} of this machine's interfaces; empty where the system does not tell (not Linux)."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found
