"""The paper's EM (14), (16) as Triton kernels: all of it in one launch, or two launches an iteration.

Every kernel works on tiles of rows × clusters in one of two orientations; AXIS is the axis of the clusters.
Few clusters: the tile is (K, rows) and a thread owns whole rows, so that the M-step's sums over clusters
need no exchange between threads. Many: the tile is (rows, K) and the lanes of a warp share a row. The
arithmetic is that of the labels' type. `reference.em.m_step_reference` is the readable twin of the M-step,
`torch_em` that of the whole.

Importing this module loads triton. If TRITON_INTERPRET=1 was set before that, the kernels run on the CPU.
"""

# Kernels have no types that mypy could check.
# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl

from cce_ray.pseudo_labels.device.triton_m_step import (
    indices,
    long_strides,
    m_step,
    pointers,
    prices_at,
    row_deficits,
    start_tile,
)


@triton.jit(do_not_specialize=["probs_row", "probs_column", "start_row", "start_column", "num_points",
                               "max_iterations"])  # fmt: skip
def em_in_registers(
    probs, probs_row, probs_column, start, start_row, start_column, known, wanted,
    labels, iterations, change, num_points, max_iterations, tolerance,
    FLOOR: tl.constexpr, HAS_ZEROS: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """All iterations for M <= ROWS points: σ, y and d never leave the registers of one program."""
    probs_row, probs_column = long_strides(probs_row, probs_column)
    start_row, start_column = long_strides(start_row, start_column)
    dtype = labels.dtype.element_ty
    rows, clusters = indices(0, ROWS, WIDTH, AXIS)
    mask = (clusters < K) & (rows < num_points)
    sigma = tl.load(pointers(probs, 0, rows, clusters, probs_row, probs_column), mask=mask, other=0.0)
    deficits = row_deficits(sigma.to(dtype), AXIS)
    y = tl.load(pointers(start, 0, rows, clusters, start_row, start_column), mask=mask, other=0.0)
    y = start_tile(y.to(dtype), known, rows, clusters, mask, num_points, FLOOR, AXIS)
    demand = (tl.load(wanted + clusters, mask=clusters < K, other=0.0) * num_points).to(dtype)

    root = tl.zeros_like(tl.sum(y, AXIS, keep_dims=True)) + float("inf")
    largest = tl.full((), float("inf"), dtype)
    iteration = 0
    going = max_iterations > 0
    while going:
        prices = prices_at(demand, tl.sum(y, 1 - AXIS, keep_dims=True), HAS_ZEROS)
        new, root = m_step(y, deficits, root, prices, known, rows, clusters, num_points, K, HAS_ZEROS, AXIS)
        largest = tl.max(tl.abs(new - y))
        y = new
        iteration += 1
        going = (iteration < max_iterations) & (largest > tolerance)
    tl.store(pointers(labels, 0, rows, clusters, K, 1), y, mask=mask)
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
        rows, clusters = indices(first, ROWS, WIDTH, AXIS)
        mask = (clusters < K) & (rows < num_points)
        y = tl.load(pointers(start, first, rows, clusters, start_row, start_column), mask=mask, other=0.0)
        y = start_tile(y.to(dtype), known, rows, clusters, mask, num_points, FLOOR, AXIS)
        tl.store(pointers(labels, first, rows, clusters, labels_row, labels_column), y, mask=mask)
        tl.store(roots + rows, tl.zeros_like(rows).to(dtype) + float("inf"), mask=rows < num_points)
        if copy is not None:
            sigma = tl.load(pointers(probs, first, rows, clusters, probs_row, probs_column), mask=mask)
            tl.store(
                pointers(copy, first, rows, clusters, labels_row, labels_column),
                sigma.to(dtype),
                mask=mask,
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
        rows, clusters = indices(first, ROWS, WIDTH, AXIS)
        mask = (clusters < K) & (rows < num_points)
        sigma = tl.load(pointers(probs, first, rows, clusters, probs_row, probs_column), mask=mask, other=0.0)
        y = tl.load(pointers(labels, first, rows, clusters, labels_row, labels_column), mask=mask, other=0.0)
        root = tl.load(roots + rows, mask=rows < num_points, other=0.0)
        p = tl.load(prices + clusters, mask=clusters < K, other=0.0)
        deficits = row_deficits(sigma.to(dtype), AXIS)
        new, root = m_step(y, deficits, root, p, known, rows, clusters, num_points, K, HAS_ZEROS, AXIS)
        # Read again, from the nearest cache: a register less an entry while Newton is at work. (The modifier
        # is the default's name, but keeps the compiler from joining the two loads.)
        places = pointers(labels, first, rows, clusters, labels_row, labels_column)
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
    probs_row, probs_column = long_strides(probs_row, probs_column)
    start_row, start_column = long_strides(start_row, start_column)
    dtype = labels.dtype.element_ty
    _, clusters = indices(0, ROWS, WIDTH, AXIS)
    demand = (tl.load(wanted + clusters, mask=clusters < K, other=0.0) * num_points).to(dtype)
    sums = _start_rows(
        start, start_row, start_column, probs, probs_row, probs_column, known, labels, K, 1, None, roots,
        0, num_points, num_points, FLOOR, K, ROWS, WIDTH, AXIS,
    )  # fmt: skip
    largest = tl.full((), float("inf"), dtype)
    iteration = 0
    going = max_iterations > 0
    while going:
        tl.store(prices + clusters, prices_at(demand, sums, HAS_ZEROS), mask=clusters < K)
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
    probs_row, probs_column = long_strides(probs_row, probs_column)
    start_row, start_column = long_strides(start_row, start_column)
    labels_row, labels_column = long_strides(labels_row, labels_column)
    for block in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
        first, stop = block * block_rows, tl.minimum((block + 1) * block_rows, num_points)
        sums = _start_rows(
            start, start_row, start_column, probs, probs_row, probs_column, known,
            labels, labels_row, labels_column, copy, roots,
            first, stop, num_points, FLOOR, K, ROWS, WIDTH, AXIS,
        )  # fmt: skip
        _, clusters = indices(0, ROWS, WIDTH, AXIS)
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
        labels_row, labels_column = long_strides(labels_row, labels_column)
    if tl.load(done) == 0:
        _, clusters = indices(0, ROWS, WIDTH, AXIS)
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
        p = prices_at(demand, tl.sum(totals, 0).to(dtype), HAS_ZEROS)
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
