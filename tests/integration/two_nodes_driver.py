"""The driver of tests/integration/test_two_namespaces.py: python FILE HEAD_ADDRESS, on the head's machine.

Prints a line of JSON for everything that it has seen: first what works on two nodes, then, when the test has
killed one of them, the loss.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def main(address: str) -> None:
    stranger = start_stranger(address)
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    nodes = alive(2)
    here = ray.get_runtime_context().get_node_id()
    pins = {node: NodeAffinitySchedulingStrategy(node, soft=False) for node in sorted(nodes, key=here.__ne__)}
    tasks = {nodes[node]: addresses.options(scheduling_strategy=pin).remote() for node, pin in pins.items()}
    say(tasks={node: ray.get(task) for node, task in tasks.items()})

    ranks = [Rank.options(scheduling_strategy=pin).remote() for pin in pins.values()]
    meeting = ray.get(ranks[0].meeting.remote())
    sums = [actor.sum_of_ranks.remote(rank, len(ranks), meeting) for rank, actor in enumerate(ranks)]
    say(sums=ray.get(sums))

    say(stranger=first_complaint(stranger))

    lost = loss_of(ranks[1].wait.remote())
    left = list(alive(1).values())
    say(lost=lost, left=left, then=loss_of(ranks[1].wait.remote()))


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def start_stranger(address: str) -> subprocess.Popen[str]:
    """A driver with another token."""
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False)"
    environment = os.environ | {"RAY_AUTH_TOKEN": "0" * 64}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


def first_complaint(stranger: subprocess.Popen[str]) -> str:
    """Why it was not let in; empty if it was. (It would go on trying for 20 s.)"""
    assert stranger.stderr
    complaint = next((line for line in stranger.stderr if "InvalidAuthToken" in line), "")
    stranger.kill()
    stranger.wait()
    return complaint.strip()


def loss_of(call: ray.ObjectRef) -> str:
    """How a call to an actor fails; empty if it does not."""
    try:
        ray.get(call)
    except ray.exceptions.RayActorError as error:
        return type(error).__name__
    return ""


def alive(count: int) -> dict[str, str]:
    """{id: address} of the cluster's nodes, once they are `count`."""
    while True:
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        if len(nodes) == count:
            return nodes
        time.sleep(0.1)


@ray.remote(num_cpus=1)
def addresses() -> list[str]:
    """Those of the machine that this task runs on."""
    return sorted(address for name, address in interfaces().items() if name != "lo")


def interfaces() -> dict[str, str]:
    """IPv4 address of every interface that has one."""
    import fcntl
    import struct

    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(
                    probe.fileno(), 0x8915, struct.pack("256s", name.encode())
                )  # SIOCGIFADDR
            except OSError:
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found


@ray.remote(num_cpus=1)
class Rank:
    """One process of a group over the nodes."""

    def meeting(self) -> str:
        """Where rank 0 can be met."""
        address = ray.util.get_node_ip_address()
        with socket.create_server((address, 0)) as free:
            return f"tcp://{address}:{free.getsockname()[1]}"

    def sum_of_ranks(self, rank: int, ranks: int, meeting: str) -> list[float]:
        """1 + 2 + ... over the ranks, by an all-reduce of gloo."""
        import torch

        # The machine's own name often stands for its loopback, which is what gloo would tell the other node.
        address = ray.util.get_node_ip_address()
        os.environ["GLOO_SOCKET_IFNAME"] = next(name for name, own in interfaces().items() if own == address)
        torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=ranks)
        total = torch.full((2,), rank + 1.0)
        torch.distributed.all_reduce(total)
        return total.tolist()

    def wait(self) -> None:
        """For ever."""
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
