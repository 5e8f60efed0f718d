"""How every kernel of this room is compiled: cached on disk, without the GIL, sums free to vectorise.

The GIL is released so that several threads can work on different blocks of rows. That keeps Numba's own
parallel layer out: it aborts when two threads call it at once (workqueue) or after a fork (GNU OpenMP), and
costs a second compilation of every kernel. ``NUMBA_CACHE_DIR`` is honoured by Numba itself.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

# Sums may be reordered, which vectorises them, and no value is ever NaN: inputs are checked beforehand.
# Infinities keep their meaning, and so does the order of the float64 partial sums between blocks.
_FAST = {"reassoc", "nsz", "contract", "nnan"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` for its first argument types, once per machine."""
    return _compile(function, fastmath=_FAST)


def compiled_strictly(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, with IEEE rules: for code that looks for NaN."""
    return _compile(function, fastmath=False)


def _compile(function: Callable[..., Any], fastmath: Any) -> Callable[..., Any]:
    # Python's error model tests every divisor for zero, which keeps the loops from being vectorised.
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable place for the cache: compile in memory
        return njit(**options)(function)  # type: ignore[no-any-return]
