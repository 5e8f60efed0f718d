"""What workers tell the driver while it waits: an actor that keeps their posts until the driver asks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_Post = tuple[str, tuple[Any, ...]]
"""What it is ("epoch", "step" or "note") and what there is to say."""


class _Mailbox:
    def __init__(self) -> None:
        self._posts: list[_Post] = []
        self._answers: defaultdict[int, asyncio.Future[bool]] = defaultdict(asyncio.Future)

    async def put(self, kind: str, *content: Any) -> None:
        self._posts.append((kind, content))

    async def drain(self) -> list[_Post]:
        posts, self._posts = self._posts, []
        return posts

    async def answer(self, epoch: int, go_on: bool) -> None:
        if not self._answers[epoch].done():
            self._answers[epoch].set_result(go_on)

    async def verdict(self, epoch: int) -> bool:
        """Whether to go on after an epoch, once the driver has said so."""
        return await asyncio.shield(self._answers[epoch])


def make_mailbox() -> Any:
    """A mailbox on this process's node; it needs none of the CPUs that Ray schedules."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
