"""The parts of the Triton kernels of `triton_em` that work on one tile: its start, its prices, its M-step."""

# Kernels have no types that mypy could check.
# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl

# Smallest normal numbers, and a bound of the prices (an empty cluster's would be infinite).
_TINY32, _TINY64 = tl.constexpr(2.0**-126), tl.constexpr(2.0**-1022)
_LARGE32, _LARGE64 = tl.constexpr(1e30), tl.constexpr(1e290)
# After a step this short, relative to d, the next point is exact: Newton squares the error. A row whose sum
# is this close to one needs no step: in single precision the sum's own rounding is 1e-7.
_SHORT32, _SHORT64 = tl.constexpr(3e-4), tl.constexpr(1e-5)
_EXACT32, _EXACT64 = tl.constexpr(1e-6), tl.constexpr(1e-13)
_MAX_STEPS = tl.constexpr(60)  # never reached; one or two steps are usual, ten the most seen


@triton.jit
def _floored(values):
    """The values, at least the smallest normal number of their type."""
    return tl.maximum(values, _TINY64 if values.dtype == tl.float64 else _TINY32)


INTERPRETED = not isinstance(_floored, triton.runtime.JITFunction)
CONSISTENT = isinstance(tl.max, triton.runtime.JITFunction) != INTERPRETED
"""Whether triton's own functions run likewise: not if it was loaded before TRITON_INTERPRET was set."""
_FAST_RECIPROCAL = tl.constexpr(not INTERPRETED and torch.version.hip is None)


@triton.jit
def _reciprocal(values):
    """1 / values, to the last bit but one; the values are normal numbers."""
    if _FAST_RECIPROCAL and values.dtype == tl.float32:
        # A division is nine instructions, eight of them for numbers that do not come here.
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [values], dtype=tl.float32, is_pure=True, pack=1
        )
    return 1.0 / values


@triton.jit
def indices(first, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr):
    """Row and cluster numbers of a tile, to be broadcast against each other."""
    rows = first + tl.arange(0, ROWS)
    return tl.expand_dims(rows, AXIS), tl.expand_dims(tl.arange(0, WIDTH), 1 - AXIS)


@triton.jit
def long_strides(first, second):
    return first.to(tl.int64), second.to(tl.int64)


@triton.jit
def pointers(pointer, first, rows, clusters, row_stride, column_stride):
    """Pointers to a tile of a matrix whose first row is `first`.

    Strides known to the compiler leave 32 bits in the scalar part only; others have to come as 64 bits.
    """
    corner = pointer + (tl.full((), 0, tl.int64) + first) * row_stride
    return corner + ((rows - first) * row_stride + clusters * column_stride)


@triton.jit
def start_tile(values, known, rows, clusters, mask, num_points, FLOOR: tl.constexpr, AXIS: tl.constexpr):
    """The start y: the values lifted to FLOOR and normalised; one-hot in known rows."""
    lifted = tl.where(mask, tl.maximum(values, FLOOR), 0.0)
    labels = lifted / _floored(tl.sum(lifted, AXIS, keep_dims=True))
    if known is not None:
        classes = tl.load(known + rows, mask=rows < num_points, other=-1)
        labels = tl.where(classes >= 0, (clusters == classes).to(labels.dtype), labels)
    return labels


@triton.jit
def row_deficits(probs, AXIS: tl.constexpr):
    """1 - r_k = (σ_max - σ_k) / σ_max, exactly 0 at the maximum; 1 in a row outside."""
    peak = tl.max(probs, AXIS, keep_dims=True)
    deficits = tl.minimum((peak - probs) * _reciprocal(_floored(peak)), 1.0)
    return tl.where(peak > 0, deficits, 1.0)


@triton.jit
def prices_at(demand, sums, HAS_ZEROS: tl.constexpr):
    """p_k = λ M u_k / Σ_i y_ik, finite, and positive where u_k is."""
    prices = demand * _reciprocal(_floored(sums))
    prices = _floored(tl.minimum(prices, _LARGE64 if prices.dtype == tl.float64 else _LARGE32))
    if HAS_ZEROS:
        prices = tl.where(demand > 0, prices, 0.0)
    return prices


@triton.jit
def _kept(values, real, AXIS: tl.constexpr):
    """Zero in the clusters that pad a tile.

    Where a thread owns its rows the compiler knows these clusters and drops all that was computed for them;
    in the other orientation they are zero already, as their weights are.
    """
    if AXIS == 0:
        values = tl.where(real, values, 0.0)
    return values


@triton.jit
def _inverses(deficits, d, t, HAS_ZEROS: tl.constexpr):
    """1 / (d + t (1-r_k)), the denominators of the M-step."""
    denominators = d + t * deficits
    if HAS_ZEROS:  # otherwise d > 0
        denominators = _floored(denominators)
    return _reciprocal(denominators)


@triton.jit
def _newton(
    weights, deficits, root, scale, bound, top, low, real, HAS_ZEROS: tl.constexpr, AXIS: tl.constexpr
):  # fmt: skip
    """Roots d of t Σ_k a_k r_k / (d + t (1-r_k)) = 1 in [bound, top], and t = S - d >= low.

    This is h(d) = 1 without the large terms that cancel: S (h - 1) is the left side minus 1, as S - A = 1.
    With d and t carried side by side, single precision keeps its digits at any λ. Newton's steps are those on
    d (1 - h(d)), which is convex, and linear where one class dominates: at most one step passes the root,
    then they come down to it from the right.

    Ends when no row of the tile needs another step. Until then all rows take them: rounding in a sum near one
    must not decide which rows move.
    """
    short = _SHORT64 if weights.dtype == tl.float64 else _SHORT32
    exact = _EXACT64 if weights.dtype == tl.float64 else _EXACT32
    high = scale - bound
    d = tl.minimum(tl.maximum(tl.where(root >= 0, root, scale + root), bound), top)
    t = tl.minimum(tl.maximum(tl.where(root >= 0, scale - root, -root), low), high)
    far = 1
    steps = 0
    while (far > 0) & (steps < _MAX_STEPS):
        factors = _inverses(deficits, d, t, HAS_ZEROS) * (1.0 - deficits)
        terms = _kept(weights * factors, real, AXIS)
        height = tl.sum(terms, AXIS, keep_dims=True)
        curve = tl.sum(_kept(terms * factors, real, AXIS), AXIS, keep_dims=True)
        excess = t * height - 1.0
        steepness = d * height + t * (d * curve) - excess
        step = tl.where(steepness > 0, d * excess * _reciprocal(_floored(steepness)), scale)
        moved = tl.minimum(tl.maximum(d + step, bound), top)
        is_far = (tl.abs(excess) > exact) & (tl.abs(moved - d) > short * d)
        far = tl.max(is_far.to(tl.int32))
        t = tl.minimum(tl.maximum(t - step, low), high)
        d = moved
        steps += 1
    return d, t


@triton.jit
def m_step(
    labels, deficits, root, prices, known, rows, clusters, num_points,
    K: tl.constexpr, HAS_ZEROS: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """(16) for a tile: the new y and the new roots, d or, where that is smaller, -t."""
    real, there = clusters < K, rows < num_points
    weights = _floored(labels * prices)
    if HAS_ZEROS:
        weights = tl.where((labels > 0) & (prices > 0), weights, 0.0)
    weights = tl.where(real & there, weights, 0.0)
    # The sum over the classes that tie for the largest σ, not their largest weight: d is as surely beyond it,
    # and with it no term overflows.
    bound = tl.sum(tl.where(deficits == 0, weights, 0.0), AXIS, keep_dims=True)
    top = tl.sum(weights, AXIS, keep_dims=True)
    scale, top, low = 1.0 + top, tl.maximum(top, bound), tl.full((), 1.0, top.dtype)
    if HAS_ZEROS:
        # The supplement's case, u_c S_c = 0 for the largest σ_c: c takes what the rest leaves at d = 0.
        terms = weights * _inverses(deficits, bound, 1.0, HAS_ZEROS) * (1.0 - deficits)
        left = 1.0 - tl.sum(_kept(terms, real, AXIS), AXIS, keep_dims=True)
        closed = (bound == 0) & (left >= 0)
        top, low = tl.where(closed, 0.0, top), tl.where(closed, scale, low)
    d, t = _newton(weights, deficits, root, scale, bound, top, low, real, HAS_ZEROS, AXIS)
    shares = _kept(weights * _inverses(deficits, d, t, HAS_ZEROS), real, AXIS)
    if HAS_ZEROS:
        ties = tl.where(real & (deficits == 0), clusters, 2**30)
        heir = closed & (clusters == tl.min(ties, AXIS, keep_dims=True))
        shares = tl.where(heir, left / scale, shares)
    shares *= _reciprocal(_floored(tl.sum(shares, AXIS, keep_dims=True)))
    if HAS_ZEROS:
        shares = tl.where(weights > 0, _floored(shares), shares)
    else:
        shares = tl.where(real & there, _floored(shares), 0.0)
    if known is not None:
        classes = tl.load(known + rows, mask=there, other=-1)
        shares = tl.where(classes >= 0, labels, shares)
    return shares, tl.where(d < t, d, -t)
