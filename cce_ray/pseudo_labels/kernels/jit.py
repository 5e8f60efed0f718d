"""How every kernel of this room is compiled: cached on disk, without the GIL, sums free to vectorise.

The GIL is released so that several threads can work on different blocks of rows. That keeps Numba's own
parallel layer out: it aborts when two threads call it at once (workqueue) or after a fork (GNU OpenMP), and
costs a second compilation of every kernel. ``NUMBA_CACHE_DIR`` is honoured by Numba itself.

The cache notices a change of the file that defines a kernel, and of no other. So a kernel's helpers and the
NamedTuples that it takes stay in its file; delete the cache after a change of what kernels import (`larger`,
the constants of `problem`, `kernels.em.Rows`).

Arrays that belong together are the fields of a NamedTuple, of which two things were measured:

- At every call Numba recognises the type of a plain tuple about 0.6 µs sooner than that of a NamedTuple, 4 %
  of an iteration of `em` at M = 250, K = 10. So solvers pass `tuple(rows)`, and a kernel that needs the names
  begins with `rows = Rows(*rows)`, which costs nothing.
- In a loop each `rows.labels` counts a reference. Some of these calls stay in the compiled code; the others
  are removed only after LLVM has ordered the sums, whose last bits they change (seen with
  `kernels.exact._stationarity`). So arrays are taken out of their tuples before a loop.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

# Sums may be reordered, which vectorises them, and no value is ever NaN: inputs are checked beforehand.
# Infinities keep their meaning, and so does the order of the float64 partial sums between blocks.
_FAST = {"reassoc", "nsz", "contract", "nnan"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` for its first argument types, once per machine."""
    return _compile(function, fastmath=_FAST)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, for a part of other kernels, of whose code it becomes a part.

    Left to itself, LLVM may keep such a function as a symbol. A process that has just compiled it then runs
    the function's own code, one that has loaded its caller from the cache the copy made for the caller; sums
    that may be reordered come in two orders, and two processes on one machine part in the last bit (seen with
    `kernels.em._evaluate`).
    """
    return _compile(function, fastmath=_FAST, forceinline=True)


def compiled_strictly(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, with IEEE rules and in the written order."""
    return _compile(function, fastmath=False)


def compiled_for_nan(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, but NaN keeps its rules: for code that looks for it."""
    return _compile(function, fastmath=_FAST - {"nnan"})


def _compile(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    # Python's error model tests every divisor for zero, which keeps the loops from being vectorised.
    options = {"nogil": True, "error_model": "numpy", **more}
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable place for the cache: compile in memory
        return njit(**options)(function)  # type: ignore[no-any-return]


@intrinsic  # type: ignore[untyped-decorator]
def larger(typing_context: Any, left: Any, right: Any) -> Any:
    """max(left, right) of two floats of one type, neither NaN, in a form that LLVM vectorises.

    Python's `max` and its conditional expression become branches, which keep a whole loop scalar as soon as
    their value leaves it: the loops around the M-step's Newton ran six times slower.
    """
    if left != right or not isinstance(left, types.Float):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        function = builder.module.declare_intrinsic(
            "llvm.maxnum", [kind], ir.FunctionType(kind, [kind, kind])
        )
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return left(left, right), generate
