"""Who works on which blocks of rows: the calling thread alone, or several threads that share the blocks.

A mapper gets ``work(first_block, last_block)``, which writes the partial sums of those blocks into their own
rows of an array. Blocks have a fixed size and are added up in block order afterwards (`sum_blocks`), so that
a mapper can change the time a result takes and never the result.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

Work = Callable[[int, int], None]
Mapper = Callable[[Work, int], None]
BlockKernel = Callable[..., None]

# Entries of y (M·K) from which a second thread gains more than its hand-over costs (2 cores, EM).
THREADS_EDGE = 40_000


def bind(kernel: BlockKernel, *arguments: object) -> Work:
    """A kernel's work on its fixed arrays, of which only the range of blocks is left open."""
    return lambda first_block, last_block: kernel(first_block, last_block, *arguments)


def map_inline(work: Work, num_blocks: int) -> None:
    """All blocks on the calling thread."""
    work(0, num_blocks)


def map_threads(work: Work, num_blocks: int) -> None:
    """Contiguous ranges of blocks, one a thread, the first on the calling thread."""
    shares = min(num_threads(), num_blocks)
    edges = [share * num_blocks // shares for share in range(shares + 1)]
    others = [_pool().submit(work, edges[share], edges[share + 1]) for share in range(1, shares)]
    work(edges[0], edges[1])
    for other in others:
        other.result()


def num_threads() -> int:
    """Threads to share the work: torch's number where torch is in use, so that one setting rules both."""
    torch = sys.modules.get("torch")
    return min(available_cores(), torch.get_num_threads()) if torch else available_cores()


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

MAPPERS: dict[str, Mapper] = {"inline": map_inline, "threads": map_threads}


def choose_mapper(backend: str, num_entries: int) -> Mapper:
    """The mapper of `backend`; "auto" takes threads from `THREADS_EDGE` entries on."""
    if backend == "auto":
        return map_threads if num_entries >= THREADS_EDGE and num_threads() > 1 else map_inline
    return MAPPERS[backend]
