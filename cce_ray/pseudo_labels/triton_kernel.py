"""The paper's EM (14), (16) as Triton kernels: all of it in one launch, or two launches an iteration.

Every kernel works on tiles of rows × clusters in one of two orientations; AXIS is the axis of the clusters.
Few clusters: the tile is (K, rows) and a thread owns whole rows, so that the M-step's sums over clusters
need no exchange between threads. Many: the tile is (rows, K) and the lanes of a warp share a row. The
arithmetic is that of the labels' type. `em.m_step_reference` is the readable twin of the M-step, `torch_em`
that of the whole.

Importing this module loads triton. If TRITON_INTERPRET=1 was set before that, the kernels run on the CPU.
"""

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
def _indices(first, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr):
    """Row and cluster numbers of a tile, to be broadcast against each other."""
    rows = first + tl.arange(0, ROWS)
    return tl.expand_dims(rows, AXIS), tl.expand_dims(tl.arange(0, WIDTH), 1 - AXIS)


@triton.jit
def _long(first, second):
    return first.to(tl.int64), second.to(tl.int64)


@triton.jit
def _places(pointer, first, rows, clusters, row_stride, column_stride):
    """Pointers to a tile of a matrix whose first row is `first`.

    Strides known to the compiler leave 32 bits in the scalar part only; others have to come as 64 bits.
    """
    corner = pointer + (tl.full((), 0, tl.int64) + first) * row_stride
    return corner + ((rows - first) * row_stride + clusters * column_stride)


@triton.jit
def _start(values, known, rows, clusters, mask, num_points, FLOOR: tl.constexpr, AXIS: tl.constexpr):
    """The start y: the values lifted to FLOOR and normalised; one-hot in known rows."""
    lifted = tl.where(mask, tl.maximum(values, FLOOR), 0.0)
    labels = lifted / _floored(tl.sum(lifted, AXIS, keep_dims=True))
    if known is not None:
        classes = tl.load(known + rows, mask=rows < num_points, other=-1)
        labels = tl.where(classes >= 0, (clusters == classes).to(labels.dtype), labels)
    return labels


@triton.jit
def _deficits(probs, AXIS: tl.constexpr):
    """1 - r_k = (σ_max - σ_k) / σ_max, exactly 0 at the maximum; 1 in a row outside."""
    peak = tl.max(probs, AXIS, keep_dims=True)
    deficits = tl.minimum((peak - probs) * _reciprocal(_floored(peak)), 1.0)
    return tl.where(peak > 0, deficits, 1.0)


@triton.jit
def _prices(demand, sums, HAS_ZEROS: tl.constexpr):
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
def _m_step(
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


@triton.jit(do_not_specialize=["probs_row", "probs_column", "start_row", "start_column", "num_points",
                               "max_iterations"])  # fmt: skip
def em_in_registers(
    probs, probs_row, probs_column, start, start_row, start_column, known, wanted,
    labels, iterations, change, num_points, max_iterations, tolerance,
    FLOOR: tl.constexpr, HAS_ZEROS: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """All iterations for M <= ROWS points: σ, y and d never leave the registers of one program."""
    probs_row, probs_column = _long(probs_row, probs_column)
    start_row, start_column = _long(start_row, start_column)
    dtype = labels.dtype.element_ty
    rows, clusters = _indices(0, ROWS, WIDTH, AXIS)
    mask = (clusters < K) & (rows < num_points)
    sigma = tl.load(_places(probs, 0, rows, clusters, probs_row, probs_column), mask=mask, other=0.0)
    deficits = _deficits(sigma.to(dtype), AXIS)
    y = tl.load(_places(start, 0, rows, clusters, start_row, start_column), mask=mask, other=0.0)
    y = _start(y.to(dtype), known, rows, clusters, mask, num_points, FLOOR, AXIS)
    demand = (tl.load(wanted + clusters, mask=clusters < K, other=0.0) * num_points).to(dtype)

    root = tl.zeros_like(tl.sum(y, AXIS, keep_dims=True)) + float("inf")
    largest = tl.full((), float("inf"), dtype)
    iteration = 0
    going = max_iterations > 0
    while going:
        prices = _prices(demand, tl.sum(y, 1 - AXIS, keep_dims=True), HAS_ZEROS)
        new, root = _m_step(y, deficits, root, prices, known, rows, clusters, num_points, K, HAS_ZEROS, AXIS)
        largest = tl.max(tl.abs(new - y))
        y = new
        iteration += 1
        going = (iteration < max_iterations) & (largest > tolerance)
    tl.store(_places(labels, 0, rows, clusters, K, 1), y, mask=mask)
    tl.store(iterations, iteration)
    tl.store(change, largest)


@triton.jit
def _zeros(ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr, DTYPE: tl.constexpr):
    return tl.zeros([WIDTH, ROWS] if AXIS == 0 else [ROWS, WIDTH], DTYPE)


@triton.jit
def _start_rows(
    start, start_row, start_column, probs, probs_row, probs_column, known,
    labels, labels_row, labels_column, copy, roots, first_row, stop_row, num_points,
    FLOOR: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """Write the start y, no roots yet (∞) and, to `copy`, σ in the orientation of y; returns Σ y_ik."""
    dtype = labels.dtype.element_ty
    totals = _zeros(ROWS, WIDTH, AXIS, dtype)
    for first in range(first_row, stop_row, ROWS):
        rows, clusters = _indices(first, ROWS, WIDTH, AXIS)
        mask = (clusters < K) & (rows < num_points)
        y = tl.load(_places(start, first, rows, clusters, start_row, start_column), mask=mask, other=0.0)
        y = _start(y.to(dtype), known, rows, clusters, mask, num_points, FLOOR, AXIS)
        tl.store(_places(labels, first, rows, clusters, labels_row, labels_column), y, mask=mask)
        tl.store(roots + rows, tl.zeros_like(rows).to(dtype) + float("inf"), mask=rows < num_points)
        if copy is not None:
            sigma = tl.load(_places(probs, first, rows, clusters, probs_row, probs_column), mask=mask)
            tl.store(
                _places(copy, first, rows, clusters, labels_row, labels_column), sigma.to(dtype), mask=mask
            )
        totals += y
    return tl.sum(totals, 1 - AXIS, keep_dims=True)


@triton.jit
def _advance_rows(
    probs, probs_row, probs_column, labels, labels_row, labels_column, roots, known, prices,
    first_row, stop_row, num_points,
    HAS_ZEROS: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """One M-step for rows first_row..stop_row-1, in place; returns Σ y_ik and max |Δy|."""
    dtype = labels.dtype.element_ty
    totals = _zeros(ROWS, WIDTH, AXIS, dtype)
    changes = tl.max(totals, AXIS, keep_dims=True)
    for first in range(first_row, stop_row, ROWS):
        rows, clusters = _indices(first, ROWS, WIDTH, AXIS)
        mask = (clusters < K) & (rows < num_points)
        sigma = tl.load(_places(probs, first, rows, clusters, probs_row, probs_column), mask=mask, other=0.0)
        y = tl.load(_places(labels, first, rows, clusters, labels_row, labels_column), mask=mask, other=0.0)
        root = tl.load(roots + rows, mask=rows < num_points, other=0.0)
        p = tl.load(prices + clusters, mask=clusters < K, other=0.0)
        deficits = _deficits(sigma.to(dtype), AXIS)
        new, root = _m_step(y, deficits, root, p, known, rows, clusters, num_points, K, HAS_ZEROS, AXIS)
        # Read again, from the nearest cache: a register less an entry while Newton is at work. (The modifier
        # is the default's name, but keeps the compiler from joining the two loads.)
        places = _places(labels, first, rows, clusters, labels_row, labels_column)
        y = tl.load(places, mask=mask, other=0.0, cache_modifier=".ca")
        tl.store(places, new, mask=mask)
        tl.store(roots + rows, root, mask=rows < num_points)
        totals += new
        changes = tl.maximum(changes, tl.max(tl.abs(new - y), AXIS, keep_dims=True))
    return tl.sum(totals, 1 - AXIS, keep_dims=True), tl.max(changes)


@triton.jit(do_not_specialize=["probs_row", "probs_column", "start_row", "start_column", "num_points",
                               "max_iterations"])  # fmt: skip
def em_in_memory(
    probs, probs_row, probs_column, start, start_row, start_column, known, wanted,
    labels, roots, prices, iterations, change, num_points, max_iterations, tolerance,
    FLOOR: tl.constexpr, HAS_ZEROS: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """All iterations in one program, which walks over the rows; y and d stay in the cache."""
    probs_row, probs_column = _long(probs_row, probs_column)
    start_row, start_column = _long(start_row, start_column)
    dtype = labels.dtype.element_ty
    _, clusters = _indices(0, ROWS, WIDTH, AXIS)
    demand = (tl.load(wanted + clusters, mask=clusters < K, other=0.0) * num_points).to(dtype)
    sums = _start_rows(
        start, start_row, start_column, probs, probs_row, probs_column, known, labels, K, 1, None, roots,
        0, num_points, num_points, FLOOR, K, ROWS, WIDTH, AXIS,
    )  # fmt: skip
    largest = tl.full((), float("inf"), dtype)
    iteration = 0
    going = max_iterations > 0
    while going:
        tl.store(prices + clusters, _prices(demand, sums, HAS_ZEROS), mask=clusters < K)
        tl.debug_barrier()  # what a thread reads now, another one may have written
        sums, largest = _advance_rows(
            probs, probs_row, probs_column, labels, K, 1, roots, known, prices,
            0, num_points, num_points, HAS_ZEROS, K, ROWS, WIDTH, AXIS,
        )  # fmt: skip
        iteration += 1
        going = (iteration < max_iterations) & (largest > tolerance)
    tl.store(iterations, iteration)
    tl.store(change, largest)


@triton.jit(do_not_specialize=["probs_row", "probs_column", "start_row", "start_column", "labels_row",
                               "labels_column", "num_points", "num_blocks", "block_rows"])  # fmt: skip
def start_blocks(
    probs, probs_row, probs_column, start, start_row, start_column, known,
    labels, labels_row, labels_column, copy, roots, partials, changes, iterations, done,
    num_points, num_blocks, block_rows, FLOOR: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """The start of every block of rows and of the state that the launches share."""
    probs_row, probs_column = _long(probs_row, probs_column)
    start_row, start_column = _long(start_row, start_column)
    labels_row, labels_column = _long(labels_row, labels_column)
    for block in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
        first, stop = block * block_rows, tl.minimum((block + 1) * block_rows, num_points)
        sums = _start_rows(
            start, start_row, start_column, probs, probs_row, probs_column, known,
            labels, labels_row, labels_column, copy, roots,
            first, stop, num_points, FLOOR, K, ROWS, WIDTH, AXIS,
        )  # fmt: skip
        _, clusters = _indices(0, ROWS, WIDTH, AXIS)
        tl.store(partials + block * K + clusters, sums, mask=clusters < K)
        tl.store(changes + block, float("inf"))
    if tl.program_id(0) == 0:
        tl.store(iterations, -1)  # the first reduction ends no iteration
        tl.store(done, 0)


@triton.jit(do_not_specialize=["labels_row", "labels_column", "num_points", "num_blocks", "block_rows"])
def advance_blocks(
    probs, labels, labels_row, labels_column, roots, known, prices, partials, changes, done,
    num_points, num_blocks, block_rows, HAS_ZEROS: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """One M-step for all blocks, unless done; their Σ y_ik and max |Δy| go to the blocks' own places."""
    if AXIS == 1:  # strides that the compiler knows: wide loads
        labels_row, labels_column = K, 1
    else:
        labels_row, labels_column = _long(labels_row, labels_column)
    if tl.load(done) == 0:
        _, clusters = _indices(0, ROWS, WIDTH, AXIS)
        for block in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
            first, stop = block * block_rows, tl.minimum((block + 1) * block_rows, num_points)
            sums, largest = _advance_rows(
                probs, labels_row, labels_column, labels, labels_row, labels_column, roots, known, prices,
                first, stop, num_points, HAS_ZEROS, K, ROWS, WIDTH, AXIS,
            )  # fmt: skip
            tl.store(partials + block * K + clusters, sums, mask=clusters < K)
            tl.store(changes + block, largest)


@triton.jit(do_not_specialize=["num_points", "num_blocks"])
def reduce_blocks(
    partials, changes, wanted, prices, iterations, change, done, num_points, num_blocks, tolerance,
    HAS_ZEROS: tl.constexpr, K: tl.constexpr, BLOCKS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Prices from the blocks' sums, added in a fixed order in float64; the first program also ends it all.

    `done` may change while other programs of this launch read it: they would then only leave prices as they
    are that nobody reads any more.
    """
    if tl.load(done) == 0:
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
        totals = tl.zeros([BLOCKS, COLUMNS], tl.float64)
        for first in range(0, num_blocks, BLOCKS):
            blocks = first + tl.arange(0, BLOCKS)
            mask = (blocks < num_blocks)[:, None] & (columns < K)[None, :]
            offsets = blocks[:, None] * K + columns[None, :]
            totals += tl.load(partials + offsets, mask=mask, other=0.0).to(tl.float64)
        dtype = prices.dtype.element_ty
        demand = (tl.load(wanted + columns, mask=columns < K, other=0.0) * num_points).to(dtype)
        p = _prices(demand, tl.sum(totals, 0).to(dtype), HAS_ZEROS)
        tl.store(prices + columns, p, mask=columns < K)
        if tl.program_id(0) == 0:
            largest = tl.zeros([BLOCKS], dtype)
            for first in range(0, num_blocks, BLOCKS):
                blocks = first + tl.arange(0, BLOCKS)
                found = tl.load(changes + blocks, mask=blocks < num_blocks, other=0.0)
                largest = tl.maximum(largest, found)
            last = tl.max(largest)
            count = tl.load(iterations) + 1
            tl.store(iterations, count)
            tl.store(change, last)
            tl.store(done, ((last <= tolerance) & (count > 0)).to(tl.int32))
