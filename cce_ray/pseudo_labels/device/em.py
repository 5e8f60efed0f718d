"""The paper's EM where the predictions are: on a GPU without one wait of the host. Needs torch; triton helps.

`em_on_device` is the way in. It takes one of three kernels: the whole EM in one launch, for batches that one
multiprocessor can hold; two launches an iteration, for everything larger (`SeveralLaunches`, which a caller
can also capture in a CUDA graph); plain torch, where Triton does not run. Importing this module loads torch,
and Triton only when it is used: import it late.
"""

import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, final

import torch
from torch import Tensor

from cce_ray.pseudo_labels.checks import (
    SUM_TOLERANCE,
    SUM_TOLERANCE_HALF,
    check_limits,
    check_shape,
    check_weight,
)
from cce_ray.pseudo_labels.device import torch_em
from cce_ray.pseudo_labels.problem import START_FLOOR

# The edge between one launch and two an iteration. One program uses one multiprocessor, but a launch costs
# microseconds. An estimate: to be measured with tests/benchmarks/bench_device_em.py.
_ONE_LAUNCH_POINTS = 1024
ONE_LAUNCH_CLUSTERS = 64
# What one program holds of a (padded) matrix in registers: 128 bytes a thread, eight warps.
_REGISTER_BYTES = 32768
# Up to this many bytes of a (padded) row, one thread owns it.
_NARROW_BYTES = 128
# A row is part of one tile; a wider one does not fit the registers of a program.
TRITON_CLUSTERS = 32768
# Blocks get more rows until there are about this many warps' worth of blocks. That depends on the problem
# alone, not on the device, as the blocks decide the order of the sums.
TARGET_WARPS = 8192

Kernel = Literal["one_launch", "several_launches", "torch"]


@final
@dataclass(frozen=True, eq=False)
class DeviceLabels:
    """What `em_on_device` returns, at once: reading a value waits until the device has computed it."""

    labels: Tensor
    """y, (M, K), rows on the simplex, without gradient; float64 for float64 predictions, else float32."""
    iterations: Tensor
    """How many iterations were done; int32, 0-dimensional."""
    change: Tensor
    """max |Δy| of the last iteration, infinite before the first; 0-dimensional."""


def em_on_device(
    probs: Tensor,
    prior: Tensor | None,
    fairness_weight: float,
    *,
    max_iterations: int,
    tolerance: float,
    known: Tensor | None = None,
    init: Tensor | None = None,
) -> DeviceLabels:
    """Soft pseudo-labels y that lower (11), as `estimate_pseudo_labels(..., solver="em")` finds them.

    Only shapes and types are checked: the values cannot be without waiting for the device, see
    `check_on_device`. NaN in σ makes NaN labels.

    Args:
        probs: σ, (M, K), floating, any strides, on any device; rows are probabilities. Never changed.
        prior: u, (K,), sums to one; zeros are fine. Uniform if None.
        fairness_weight: λ > 0 of (11).
        max_iterations: iteration limit, >= 0.
        tolerance: stop when max |Δy| of an iteration is at most this.
        known: (M,), int64: the class of a known row, whose y stays one-hot; -1 where unknown.
        init: the start y, (M, K); by default σ, lifted to 1e-8 where softmax underflowed.

    Returns:
        DeviceLabels, on the device of `probs`.

    Raises:
        ValueError: an argument's shape, type or device is unusable.
    """
    check_weight(fairness_weight)
    check_limits(max_iterations, tolerance, None)
    inputs = _prepare(probs, prior, fairness_weight, known, init)
    kernel = choose_kernel(probs)
    if kernel == "one_launch":
        return _one_launch(inputs, max_iterations, tolerance)
    if kernel == "several_launches":
        work = SeveralLaunches(probs.shape[0], probs.shape[1], inputs.dtype, probs.device)
        return work._launch(inputs, max_iterations, tolerance)
    return DeviceLabels(
        *torch_em.em(inputs.probs, inputs.wanted, inputs.known, inputs.init, max_iterations, tolerance)
    )


def check_on_device(probs: Tensor) -> None:
    """Look at the values of σ as `estimate_pseudo_labels` does. The host waits once for the device.

    Raises:
        ValueError: a row is no probability distribution; one line says which and why.
    """
    _check_probs(probs)
    rows = probs.detach()
    total = rows.sum(dim=1, dtype=_widest(probs.device))
    least = rows.amin(dim=1).to(total.dtype)
    tolerance = SUM_TOLERANCE if rows.dtype.itemsize >= 4 else SUM_TOLERANCE_HALF
    bad = ~torch.isfinite(total) | (least < 0) | ((total - 1).abs() > tolerance)
    row = bad.to(torch.int32).argmax().reshape(1)
    found = [bad.any().reshape(1), row, total.index_select(0, row), least.index_select(0, row)]
    any_bad, index, value, smallest = torch.cat([part.to(total.dtype) for part in found]).tolist()
    if not any_bad:
        return
    if not math.isfinite(value):
        raise ValueError(
            f"probs: row {index:.0f} holds NaN or infinity; "
            "check the model's outputs (a lower learning rate?)"
        )
    fault = f"holds {smallest:.6g} < 0" if smallest < 0 else f"sums to {value:.6g}, not 1"
    raise ValueError(f"probs: row {index:.0f} {fault}; give probabilities (softmax of logits)")


def choose_kernel(probs: Tensor) -> Kernel:
    """Which of the three kernels `em_on_device` takes for these predictions."""
    num_points, num_clusters = probs.shape
    if not _triton_runs_on(probs.device) or num_clusters > TRITON_CLUSTERS:
        return "torch"
    if num_points <= _ONE_LAUNCH_POINTS and num_clusters <= ONE_LAUNCH_CLUSTERS:
        return "one_launch"
    return "several_launches"


def _triton_runs_on(device: torch.device) -> bool:
    """On CUDA devices, and in Triton's interpreter on the CPU."""
    interpreted = device.type == "cpu" and bool(os.environ.get("TRITON_INTERPRET"))
    if not (device.type == "cuda" or interpreted) or find_spec("triton") is None:
        return False
    from cce_ray.pseudo_labels.device import triton_m_step

    return interpreted == triton_m_step.INTERPRETED and triton_m_step.CONSISTENT


@final
@dataclass(frozen=True, eq=False)
class _Inputs:
    """Arguments whose shapes and types were checked."""

    probs: Tensor
    wanted: Tensor
    """λ u, (K,), float64 where the device has it."""
    known: Tensor | None
    init: Tensor | None
    has_zeros: bool
    """Whether `wanted` or `init` may hold zeros; if not, the kernels need no case for them."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the labels, and of the arithmetic."""
        return torch.float64 if self.probs.dtype == torch.float64 else torch.float32

    @property
    def start(self) -> Tensor:
        """The matrix that y starts from."""
        return self.probs if self.init is None else self.init

    @property
    def floor(self) -> float:
        """What the start is lifted to."""
        return START_FLOOR if self.init is None else 0.0


def _prepare(
    probs: Tensor, prior: Tensor | None, fairness_weight: float, known: Tensor | None, init: Tensor | None
) -> _Inputs:
    _check_probs(probs)
    (num_points, num_clusters), device, widest = probs.shape, probs.device, _widest(probs.device)
    _check_tensor(prior, "prior", (num_clusters,), device, floating=True)
    _check_tensor(known, "known", (num_points,), device, floating=False)
    _check_tensor(init, "init", (num_points, num_clusters), device, floating=True)
    if prior is None:
        wanted = torch.full((num_clusters,), fairness_weight / num_clusters, dtype=widest, device=device)
    else:
        weights = prior.detach().to(widest)
        wanted = weights * (fairness_weight / weights.sum())
    return _Inputs(
        probs.detach(),
        wanted,
        None if known is None else known.contiguous(),
        None if init is None else init.detach(),
        has_zeros=prior is not None or init is not None,
    )


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _check_probs(probs: Tensor) -> None:
    check_shape(tuple(probs.shape))
    if not probs.is_floating_point():
        raise ValueError(f"probs: dtype {probs.dtype} is not a floating type; give probabilities as float32")


def _check_tensor(
    values: Tensor | None, name: str, shape: tuple[int, ...], device: torch.device, *, floating: bool
) -> None:
    if values is None:
        return
    if tuple(values.shape) != shape:
        raise ValueError(f"{name}: shape {tuple(values.shape)} does not fit probs; give {shape}")
    if values.is_floating_point() != floating or values.dtype == torch.bool:
        kind = "a floating" if floating else "an integer"
        raise ValueError(f"{name}: dtype {values.dtype} is not {kind} type")
    if values.device != device:
        raise ValueError(f"{name}: on {values.device}, but probs on {device}; move it there")


@final
@dataclass(frozen=True)
class Tile:
    """The rows × clusters that a program works on at once: powers of two."""

    rows: int
    width: int
    axis: int
    """Of the clusters: 0 where a thread owns whole rows."""
    warps: int

    @property
    def constants(self) -> dict[str, int | bool]:
        """What a kernel is compiled and launched with."""
        shape = {"ROWS": self.rows, "WIDTH": self.width, "AXIS": self.axis}
        return shape | {"num_warps": self.warps, "enable_fp_fusion": True}


def one_launch_tile(num_points: int, num_clusters: int, item_bytes: int = 4) -> Tile:
    """All rows if the one program can hold them in registers, else as many as it can."""
    width = _power_of_two(num_clusters)
    axis = 0 if width * item_bytes <= _NARROW_BYTES else 1
    rows = max(_power_of_two(num_points), 32 if axis == 0 else 1)
    rows = min(rows, _REGISTER_BYTES // (width * item_bytes))
    return Tile(rows, width, axis, max(rows * width * item_bytes // 4096, 1))


def several_launches_tile(num_clusters: int, item_bytes: int = 4) -> Tile:
    """Small: many programs on one multiprocessor hide each other's waits for memory."""
    width = _power_of_two(num_clusters)
    row_bytes = width * item_bytes
    if row_bytes <= _NARROW_BYTES:
        return Tile(max(128, 4096 // row_bytes), width, 0, 4)
    warps = min(max(row_bytes // 4096, 1), 16)
    return Tile(max(2048 * warps // row_bytes, 1), width, 1, warps)


def _power_of_two(number: int) -> int:
    """The next one that is not smaller."""
    return 1 << (number - 1).bit_length()


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, whatever its arguments' is."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _one_launch(inputs: _Inputs, max_iterations: int, tolerance: float) -> DeviceLabels:
    from cce_ray.pseudo_labels.device import triton_em

    (num_points, num_clusters), device = inputs.probs.shape, inputs.probs.device
    tile = one_launch_tile(num_points, num_clusters, inputs.dtype.itemsize)
    labels = torch.empty((num_points, num_clusters), dtype=inputs.dtype, device=device)
    iterations = torch.empty((), dtype=torch.int32, device=device)
    change = torch.empty((), dtype=inputs.dtype, device=device)
    matrices = (inputs.probs, *inputs.probs.stride(), inputs.start, *inputs.start.stride())
    vectors = (inputs.known, inputs.wanted)
    limits = (iterations, change, num_points, max_iterations, float(tolerance))
    constants = {"FLOOR": inputs.floor, "HAS_ZEROS": inputs.has_zeros, "K": num_clusters}
    with _on(device):
        if tile.rows >= num_points:
            triton_em.em_in_registers[(1,)](
                *matrices, *vectors, labels, *limits, **constants, **tile.constants
            )
        else:
            roots, prices = labels.new_empty(num_points), labels.new_empty(num_clusters)
            triton_em.em_in_memory[(1,)](
                *matrices, *vectors, labels, roots, prices, *limits, **constants, **tile.constants
            )
    return DeviceLabels(labels, iterations, change)


@final
class SeveralLaunches:
    """EM for one shape of σ on a device with Triton, in two launches an iteration.

    All large memory is taken when this is made, and the loop of `run` allocates nothing and waits for
    nothing, so that `run` can be captured in a CUDA graph, once a call outside has compiled the kernels.
    Launches after the end (the tolerance was met) do nothing.

    Args:
        num_points, num_clusters: M and K.
        dtype: of y: float64 for float64 predictions, else float32.
        device: where.
        programs: how many programs share the blocks of rows; cannot change a bit of the result.
    """

    def __init__(
        self,
        num_points: int,
        num_clusters: int,
        dtype: torch.dtype,
        device: torch.device,
        programs: int | None = None,
    ) -> None:
        def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        self._tile = tile = several_launches_tile(num_clusters, dtype.itemsize)
        tiles_of_a_block = num_points * tile.warps // (tile.rows * TARGET_WARPS)
        self._block_rows = tile.rows * _power_of_two(max(tiles_of_a_block, 1))
        self._blocks = -(-num_points // self._block_rows)
        self._programs = self._blocks if programs is None else programs
        self._labels = self._work = empty(num_points, num_clusters)
        self._copy: Tensor | None = None
        if tile.axis == 0:
            # Neighbouring threads own neighbouring rows: σ and y are kept transposed.
            self._work, self._copy = empty(num_clusters, num_points).t(), empty(num_clusters, num_points).t()
        self._roots, self._prices = empty(num_points), empty(num_clusters)
        self._partials, self._changes = empty(self._blocks, num_clusters), empty(self._blocks)
        self._iterations, self._done = empty(dtype=torch.int32), empty(dtype=torch.int32)
        self._change = empty()

    def run(
        self,
        probs: Tensor,
        prior: Tensor | None,
        fairness_weight: float,
        *,
        max_iterations: int,
        tolerance: float,
        known: Tensor | None = None,
        init: Tensor | None = None,
    ) -> DeviceLabels:
        """As `em_on_device`; the tensors returned are this object's own: the next run overwrites them.

        Raises:
            ValueError: as `em_on_device`, or `probs` is not what this was made for.
        """
        check_weight(fairness_weight)
        check_limits(max_iterations, tolerance, None)
        inputs = _prepare(probs, prior, fairness_weight, known, init)
        made_for = (self._labels.shape, self._labels.dtype, self._labels.device)
        if (probs.shape, inputs.dtype, probs.device) != made_for:
            raise ValueError(
                f"probs: {tuple(probs.shape)}, {probs.dtype} on {probs.device}; made for {made_for}"
            )
        return self._launch(inputs, max_iterations, tolerance)

    def _launch(self, inputs: _Inputs, max_iterations: int, tolerance: float) -> DeviceLabels:
        from cce_ray.pseudo_labels.device import triton_em

        probs, known, work = inputs.probs, inputs.known, self._work
        sigma = probs.contiguous() if self._copy is None else self._copy
        matrices = (probs, *probs.stride(), inputs.start, *inputs.start.stride())
        blocks = (self._partials, self._changes)
        size = (len(work), self._blocks, self._block_rows)
        clusters = {"K": work.shape[1]}
        shape = clusters | self._tile.constants
        columns = min(_power_of_two(work.shape[1]), 32)
        constants = {"COLUMNS": columns, "BLOCKS": 8192 // columns, "num_warps": 8, "enable_fp_fusion": True}

        def reduce_blocks() -> None:
            triton_em.reduce_blocks[(-(-work.shape[1] // columns),)](
                *blocks, inputs.wanted, self._prices, self._iterations, self._change, self._done,
                *size[:2], float(tolerance), HAS_ZEROS=inputs.has_zeros, **clusters, **constants,
            )  # fmt: skip

        with _on(probs.device):
            triton_em.start_blocks[(self._programs,)](
                *matrices, known, work, *work.stride(), self._copy, self._roots,
                *blocks, self._iterations, self._done, *size, FLOOR=inputs.floor, **shape,
            )  # fmt: skip
            reduce_blocks()
            for _ in range(max_iterations):
                triton_em.advance_blocks[(self._programs,)](
                    sigma, work, *work.stride(), self._roots, known, self._prices,
                    *blocks, self._done, *size, HAS_ZEROS=inputs.has_zeros, **shape,
                )  # fmt: skip
                reduce_blocks()
        if work is not self._labels:
            self._labels.copy_(work)
        return DeviceLabels(self._labels, self._iterations, self._change)
