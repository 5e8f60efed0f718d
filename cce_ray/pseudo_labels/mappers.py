"""Who works on which blocks of rows: the calling thread alone, or several threads that share the blocks.

A mapper gets ``work(share, first_block, last_block)``, which writes the partial sums of those blocks into
their own rows of an array and may use scratch of its own share. Blocks have a fixed size and are added up in
block order afterwards (`sum_blocks`), so that a mapper can change the time a result takes and never the
result.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol, final

Work = Callable[[int, int, int], None]
BlockKernel = Callable[..., None]

# Entries of y (M·K) from which a second thread gains more than its hand-over costs (2 cores, EM).
_THREADS_EDGE = 100_000


class Mapper(Protocol):
    """Shares the blocks of one call among `shares` workers and returns when all are done."""

    @property
    def shares(self) -> int:
        """How many shares there are at most: ``work`` is called with 0 <= share < shares."""
        ...

    def __call__(self, work: Work, num_blocks: int) -> None:
        """Call ``work`` so that every block is done once."""
        ...


def bind(kernel: BlockKernel, *arguments: object) -> Work:
    """A kernel's work on its fixed arrays, of which only the share and its range of blocks are left open."""
    return lambda share, first_block, last_block: kernel(share, first_block, last_block, *arguments)


@final
class Inline:
    """All blocks on the calling thread."""

    shares = 1

    def __call__(self, work: Work, num_blocks: int) -> None:
        """One share."""
        work(0, 0, num_blocks)


@final
class Threads:
    """Contiguous ranges of blocks, one a thread, the first on the calling thread."""

    def __init__(self) -> None:
        self.shares = num_threads()

    def __call__(self, work: Work, num_blocks: int) -> None:
        """As many shares as there are threads and blocks."""
        shares = min(self.shares, num_blocks)
        edges = [share * num_blocks // shares for share in range(shares + 1)]
        others = [_pool().submit(work, share, edges[share], edges[share + 1]) for share in range(1, shares)]
        work(0, edges[0], edges[1])
        for other in others:
            other.result()


def num_threads() -> int:
    """Threads to share the work: torch's number where torch is in use, so that one setting rules both.

    Elsewhere OMP_NUM_THREADS, which Ray sets to the CPUs of a task, or the cores this process may use.
    """
    torch = sys.modules.get("torch")
    limit = os.environ.get("OMP_NUM_THREADS", "")
    wanted = torch.get_num_threads() if torch else int(limit) if limit.isdigit() else 0
    return min(available_cores(), wanted) if wanted > 0 else available_cores()


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, available_cores() - 1), thread_name_prefix="cce_ray-pseudo-labels")


# A forked child inherits the pool's queue and none of its threads: it starts its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)

MAPPERS: dict[str, Callable[[], Mapper]] = {"inline": Inline, "threads": Threads}


def choose_mapper(backend: str, num_entries: int) -> Mapper:
    """The mapper of `backend`; "auto" takes threads from `_THREADS_EDGE` entries on."""
    if backend == "auto":
        backend = "threads" if num_entries >= _THREADS_EDGE and num_threads() > 1 else "inline"
    return MAPPERS[backend]()
