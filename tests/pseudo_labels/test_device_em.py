"""The EM on a device: every kernel against the float64 solver of the host and the known answers.

Triton decides when it is imported whether it compiles or interprets, and another test may have imported it.
So this file is run twice: here for plain torch (and for CUDA where there is one), and by
`test_triton_kernels_in_the_interpreter` in a process of its own, with TRITON_INTERPRET=1 from the start,
where the same tests run the Triton kernels on CPU tensors.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pseudo_label_problems import Case, known_cases, priors, softmax

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.device import em as device_em
from cce_ray.pseudo_labels.device.em import (
    DeviceLabels,
    SeveralLaunches,
    Tile,
    check_on_device,
    em_on_device,
)

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = torch.cuda.is_available() and not INTERPRETED
KERNELS = [("one_launch", "cpu"), ("several_launches", "cpu")] if INTERPRETED else [("torch", "cpu")]
if CUDA:
    KERNELS += [("one_launch", "cuda"), ("several_launches", "cuda"), ("torch", "cuda")]
TRITON_DEVICE = "cpu" if INTERPRETED else "cuda"
CASES = list(known_cases())[:: 3 if INTERPRETED else 1]  # the interpreter takes a second each

needs_cuda = pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
needs_triton = pytest.mark.skipif(not (CUDA or INTERPRETED), reason="needs CUDA or Triton's interpreter")
here_only = pytest.mark.skipif(INTERPRETED, reason="runs in the first process")

Solve = Callable[..., DeviceLabels]


@pytest.fixture(params=KERNELS, ids="-".join)
def solve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Solve:
    """`em_on_device` by one kernel: `solve(probs, weight, max_iterations, **options)`, all arrays."""
    kernel, device = request.param
    monkeypatch.setattr(device_em, "choose_kernel", lambda probs: kernel)
    if INTERPRETED:  # which takes milliseconds a tile, however large
        monkeypatch.setattr(device_em, "several_launches_tile", larger_tile)

    def run(
        probs: Any, weight: float, iterations: int, tolerance: float = 0.0, **options: Any
    ) -> DeviceLabels:
        tensors = {name: None if v is None else torch.as_tensor(v).to(device) for name, v in options.items()}
        prior = tensors.pop("prior", None)
        probs = torch.as_tensor(probs).to(device)
        found = em_on_device(probs, prior, weight, max_iterations=iterations, tolerance=tolerance, **tensors)
        assert found.labels.device == probs.device and found.labels.shape == probs.shape
        assert found.iterations.dtype == torch.int32 and found.iterations.ndim == found.change.ndim == 0
        return found

    return run


def larger_tile(
    num_clusters: int, item_bytes: int, chosen: Callable[..., Tile] = device_em.several_launches_tile
) -> Tile:
    tile = chosen(num_clusters, item_bytes)
    return tile if tile.axis == 0 else replace(tile, rows=16 * tile.rows)


def on_host(probs: np.ndarray, weight: float, iterations: int, tolerance: float = 0.0, **options: Any) -> Any:
    """The float64 solver of the host."""
    known = options.pop("known", None)
    options = {name: None if value is None else value.astype(np.float64) for name, value in options.items()}
    return estimate_pseudo_labels(
        probs.astype(np.float64),
        fairness_weight=weight,
        max_iterations=iterations,
        tolerance=tolerance,
        known_labels=known,
        solver="em",
        **options,
    )


def make_probs(kind: str, points: int, clusters: int) -> np.ndarray:
    random = np.random.default_rng(points)
    logits = random.normal(size=(points, clusters))
    if kind == "flat":
        return softmax(0.0 * logits)
    if kind == "ties":
        return softmax(np.round(logits))
    if kind == "unbalanced":
        logits[:, 0] += 3
        return softmax(3 * logits)
    if kind == "one_hot":
        return np.eye(clusters)[random.integers(clusters, size=points)]
    if kind == "zeros":
        probs = softmax(logits) * (random.random((points, clusters)) < 0.5)
        probs[:, 0] += 1e-3
        return probs / probs.sum(axis=1, keepdims=True)
    assert kind == "saturated"
    return softmax(300 * logits)


def assert_close(found: torch.Tensor, expected: np.ndarray) -> None:
    atol = 1e-8 if found.dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=atol, rtol=0)
    np.testing.assert_allclose(found.double().sum(dim=1).cpu(), 1, atol=2e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_known_answers(solve: Solve, case: Case) -> None:
    for iterations in (1, 3):
        found = solve(case.probs, case.fairness_weight, iterations, prior=case.prior)
        np.testing.assert_allclose(found.labels.cpu(), case.em[iterations], atol=1e-6)
        assert int(found.iterations) == iterations


SHAPES = {"batch": (70, 10), "two": (33, 2), "one_point": (1, 5), "wide": (5, 70)}


@pytest.mark.parametrize("dtype, weight", [(np.float32, 1e-6), (np.float32, 1e6), (np.float64, 1.0)])
@pytest.mark.parametrize("points, clusters", SHAPES.values(), ids=SHAPES)
def test_agrees_with_the_host(
    solve: Solve, points: int, clusters: int, dtype: type[np.floating], weight: float
) -> None:
    probs = make_probs("unbalanced", points, clusters).astype(dtype)
    assert_close(solve(probs, weight, 4).labels, on_host(probs, weight, 4).labels)


@pytest.mark.parametrize("points, clusters", [(600, 20), (150, 40)])
def test_more_rows_than_the_registers_of_one_program_hold(solve: Solve, points: int, clusters: int) -> None:
    tile = device_em.one_launch_tile(points, clusters)
    assert tile.rows < points
    probs = make_probs("unbalanced", points, clusters).astype(np.float32)
    assert_close(solve(probs, 3.0, 3).labels, on_host(probs, 3.0, 3).labels)


@pytest.mark.parametrize("weight", [1e-6, 10.0, 1e6])
@pytest.mark.parametrize("kind", ["flat", "ties", "one_hot", "saturated", "zeros"])
def test_hard_rows_in_single_precision(solve: Solve, kind: str, weight: float) -> None:
    probs = make_probs(kind, 25, 5).astype(np.float32)
    iterations = 4 if INTERPRETED else 50
    found = solve(probs, weight, iterations)
    assert found.labels.dtype == torch.float32 and bool((found.labels > 0).all())
    assert_close(found.labels, on_host(probs, weight, iterations).labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_prior_empty_start_and_known_rows(solve: Solve, dtype: type[np.floating]) -> None:
    random = np.random.default_rng(0)
    probs = make_probs("unbalanced", 50, 6).astype(dtype)
    start = random.dirichlet(np.ones(6), size=50) * (random.random((50, 6)) < 0.7)
    start[:, 1] = 0
    start[start.sum(axis=1) == 0] = [1, 0, 1, 1, 1, 1]
    start /= start.sum(axis=1, keepdims=True)
    known = random.integers(-1, 6, size=50)
    prior = priors(6, seed=1, zeros=True)
    for weight, options in (
        (100.0, {"prior": prior}),
        (100.0, {"known": known}),
        (100.0, {"init": start.astype(dtype)}),
        (0.1, {"init": start.astype(dtype)}),
        (0.1, {"prior": prior, "init": start.astype(dtype), "known": known}),
    ):
        found = solve(probs, weight, 2, **options).labels
        assert_close(found, on_host(probs, weight, 2, **options).labels)
        if "known" in options:
            rows = known >= 0
            assert np.array_equal(found.cpu().numpy()[rows], np.eye(6)[known[rows]])


def test_class_without_support_takes_the_rest_in_closed_form(solve: Solve) -> None:
    # The supplement, section 9: σ_c = σ_max with u_c = 0; a = 0.1 leaves y_c = 1 - 0.1 / (1.1 · 0.75).
    found = solve(np.array([[0.8, 0.2]]), 0.1, 1, prior=np.array([0.0, 1.0]))
    np.testing.assert_allclose(found.labels.cpu(), [[1 - 0.1 / 0.825, 0.1 / 0.825]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tolerance_ends_as_on_the_host(solve: Solve, dtype: type[np.floating]) -> None:
    probs = make_probs("unbalanced", 60, 5).astype(dtype)
    expected = on_host(probs, 1.0, 100, tolerance=0.1)
    found = solve(probs, 1.0, expected.iterations + 5, tolerance=0.1)
    iterations = int(found.iterations)
    assert 2 < expected.iterations < 15 and abs(iterations - expected.iterations) <= (dtype == np.float32)
    exactly = solve(probs, 1.0, iterations)
    assert torch.equal(exactly.labels, found.labels) and torch.equal(exactly.change, found.change)
    before = solve(probs, 1.0, iterations - 1)
    assert float(found.change) <= 0.1 < float(before.change)
    change = float((found.labels - before.labels).abs().max())
    assert float(found.change) == pytest.approx(change, rel=1e-6)


def test_no_iteration_leaves_the_start(solve: Solve) -> None:
    probs = make_probs("one_hot", 20, 4).astype(np.float32)
    found = solve(probs, 1.0, 0)
    assert int(found.iterations) == 0 and float(found.change) == float("inf")
    lifted = np.maximum(probs, np.float32(1e-8))
    assert_close(found.labels, lifted / lifted.sum(axis=1, keepdims=True))


def test_labels_carry_no_gradient_and_probs_stay(solve: Solve) -> None:
    probs = torch.from_numpy(make_probs("unbalanced", 20, 4)).requires_grad_()
    before = probs.detach().clone()
    found = solve(probs, 10.0, 3, prior=torch.full((4,), 0.25).requires_grad_())
    assert not found.labels.requires_grad and not found.change.requires_grad
    assert torch.equal(probs, before)
    loss = (found.labels.to(probs.device) * probs).sum()
    loss.backward()
    assert probs.grad is not None and torch.equal(probs.grad, found.labels.to(probs.device))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(solve: Solve, dtype: torch.dtype) -> None:
    for clusters in (4, 40):
        probs = torch.from_numpy(make_probs("unbalanced", 9, clusters)).to(dtype)
        found = solve(probs, 10.0, 1).labels
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, solve(probs.float(), 10.0, 1).labels, atol=1e-6, rtol=0)


def test_any_strides(solve: Solve) -> None:
    for clusters in (4, 40):
        probs = torch.from_numpy(make_probs("unbalanced", 9, clusters))
        expected = solve(probs, 10.0, 2, init=probs).labels
        for strided in (probs.t().contiguous().t(), probs.repeat_interleave(2, dim=0)[::2]):
            assert torch.equal(solve(strided, 10.0, 2, init=strided).labels, expected)


@needs_triton
@pytest.mark.parametrize("points, clusters", [(500, 3), (20, 70)])
def test_who_works_on_which_block_cannot_change_a_bit(
    points: int, clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    probs = torch.from_numpy(make_probs("unbalanced", points, clusters)).float().to(TRITON_DEVICE)
    monkeypatch.setattr(device_em, "TARGET_WARPS", 4)  # several tiles in a block

    def labels(programs: int | None) -> torch.Tensor:
        work = SeveralLaunches(points, clusters, torch.float32, probs.device, programs)
        return work.run(probs, None, 10.0, max_iterations=2, tolerance=0.0).labels

    expected = labels(None)
    assert all(torch.equal(labels(programs), expected) for programs in (1, 2))
    assert_close(expected, on_host(probs.cpu().numpy(), 10.0, 2).labels)


@needs_triton
def test_workspace_can_be_used_again() -> None:
    work = SeveralLaunches(30, 3, torch.float32, torch.device(TRITON_DEVICE))
    for kind in ("unbalanced", "flat"):
        probs = make_probs(kind, 30, 3).astype(np.float32)
        tensor = torch.from_numpy(probs).to(TRITON_DEVICE)
        found = work.run(tensor, None, 3.0, max_iterations=12, tolerance=0.1)
        expected = on_host(probs, 3.0, int(found.iterations))
        assert_close(found.labels, expected.labels)
        assert 0 < int(found.iterations) < 12
    with pytest.raises(ValueError, match="made for"):
        work.run(tensor.double(), None, 3.0, max_iterations=1, tolerance=0.0)


@here_only
def test_choice_of_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large, wider = torch.empty(250, 10), torch.empty(2000, 10), torch.empty(10, 40_000)
    assert device_em.choose_kernel(small) == "torch"
    monkeypatch.setattr(device_em, "_triton_runs_on", lambda device: True)
    kernels = [device_em.choose_kernel(probs) for probs in (small, large, wider)]
    assert kernels == ["one_launch", "several_launches", "torch"]


@here_only
def test_tiles_fit_their_threads() -> None:
    for item_bytes in (4, 8):
        for clusters in (2, 3, 10, 17, 33, 64, 1000, 10_000, device_em.TRITON_CLUSTERS):
            tiles = [device_em.several_launches_tile(clusters, item_bytes)]
            if clusters <= device_em.ONE_LAUNCH_CLUSTERS:
                tiles += [
                    device_em.one_launch_tile(points, clusters, item_bytes) for points in (1, 7, 250, 1024)
                ]
            for tile in tiles:
                assert tile.width >= clusters and tile.warps in (1, 2, 4, 8, 16)
                assert tile.rows * tile.width >= 32 * tile.warps or tile.rows * tile.width < 64
                # A thread that shares its rows with no other: the warps cover rows only.
                assert tile.axis == 1 or tile.rows >= 32 * tile.warps


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "vector": ({"probs": torch.ones(4) / 4}, r"probs: shape \(4,\)"),
    "one_cluster": ({"probs": torch.ones(4, 1)}, "at least 2 clusters"),
    "integers": ({"probs": torch.eye(3, dtype=torch.int64)}, "probs: dtype torch.int64"),
    "weight": ({"fairness_weight": 0.0}, "fairness_weight: 0.0"),
    "weight_nan": ({"fairness_weight": float("nan")}, "fairness_weight: nan"),
    "prior": ({"prior": torch.ones(4) / 4}, r"prior: shape \(4,\)"),
    "known": ({"known": torch.zeros(4, dtype=torch.int64)}, r"known: shape \(4,\)"),
    "known_float": ({"known": torch.zeros(3)}, "known: dtype torch.float32"),
    "init": ({"init": torch.ones(3, 4)}, r"init: shape \(3, 4\)"),
    "elsewhere": ({"init": torch.ones(3, 3, device="meta")}, "init: on meta"),
    "iterations": ({"max_iterations": -1}, "max_iterations: -1"),
    "tolerance": ({"tolerance": float("nan")}, "tolerance: nan"),
}


@here_only
@pytest.mark.parametrize("options, message", BAD.values(), ids=BAD)
def test_bad_arguments_get_one_line(options: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"probs": torch.eye(3), "prior": None, "fairness_weight": 1.0}
    with pytest.raises(ValueError, match=message) as caught:
        em_on_device(**(good | {"max_iterations": 1, "tolerance": 0.0} | options))
    assert "\n" not in str(caught.value)


@here_only
def test_check_says_which_row_is_wrong() -> None:
    good = torch.full((9, 4), 0.25, dtype=torch.float64)
    check_on_device(good)
    check_on_device(good.bfloat16())
    for row, message in {
        (0.5, 0.1, 0.1, 0.1): "probs: row 7 sums to 0.8, not 1",
        (float("nan"), 0.5, 0.25, 0.25): "probs: row 7 holds NaN or infinity",
        (float("inf"), 0.5, 0.25, 0.25): "probs: row 7 holds NaN or infinity",
        (-0.5, 0.5, 0.5, 0.5): "probs: row 7 holds -0.5 < 0",
    }.items():
        bad = good.clone()
        bad[7] = torch.tensor(row)
        for dtype in (torch.float64, torch.float32):
            with pytest.raises(ValueError, match=message):
                check_on_device(bad.to(dtype))


@here_only
def test_importing_the_room_loads_neither_torch_nor_triton() -> None:
    code = "import sys, cce_ray.pseudo_labels; sys.exit(any(m in sys.modules for m in ('torch', 'triton')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, cce_ray.pseudo_labels.device.em; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@here_only
@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
def test_triton_kernels_in_the_interpreter() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(Path(__file__))]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    assert " passed" in result.stdout


@needs_cuda
@pytest.mark.parametrize("points, clusters", [(250, 10), (900, 40), (3000, 10), (300, 500)])
def test_the_host_waits_for_nothing(points: int, clusters: int) -> None:
    probs = torch.from_numpy(make_probs("unbalanced", points, clusters)).float().cuda()
    prior = torch.full((clusters,), 1 / clusters, device="cuda")
    known = torch.full((points,), -1, device="cuda")
    options: dict[str, Any] = {"max_iterations": 20, "tolerance": 1e-3, "known": known, "init": probs}
    em_on_device(probs, prior, 10.0, **options)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = em_on_device(probs, prior, 10.0, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_close(found.labels, on_host(probs.cpu().numpy(), 10.0, int(found.iterations)).labels)


@needs_cuda
@pytest.mark.parametrize("points, clusters", [(3000, 10), (300, 500)])
def test_several_launches_in_a_cuda_graph(points: int, clusters: int) -> None:
    probs = torch.from_numpy(make_probs("flat", points, clusters)).float().cuda()
    work = SeveralLaunches(points, clusters, torch.float32, probs.device)

    def run() -> DeviceLabels:
        return work.run(probs, None, 10.0, max_iterations=12, tolerance=1e-2)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()  # compiles
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()
    for kind in ("unbalanced", "ties"):
        probs.copy_(torch.from_numpy(make_probs(kind, points, clusters)))
        graph.replay()
        labels, iterations = found.labels.clone(), int(found.iterations)
        again = run()
        assert torch.equal(labels, again.labels) and iterations == int(again.iterations)
        assert_close(labels, on_host(probs.cpu().numpy(), 10.0, iterations).labels)


@here_only
@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("kernel", ["em_in_registers", "em_in_memory", "advance_blocks", "reduce_blocks"])
def test_kernels_compile_for_a_gpu_that_need_not_be_there(kernel: str) -> None:
    """The interpreter forgives what the compiler does not, such as a variable that changes its type."""
    compiler = pytest.importorskip("triton.compiler")
    target = pytest.importorskip("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    from cce_ray.pseudo_labels.device import triton_em

    function = getattr(triton_em, kernel)
    tile = Tile(8, 64, 1, 1) if kernel == "em_in_memory" else Tile(32, 8, 0, 1)
    constants = {"FLOOR": 0.0, "HAS_ZEROS": True, "K": 7, "BLOCKS": 32, "COLUMNS": 8} | tile.constants
    floats = {"probs", "start", "labels", "roots", "prices", "partials", "changes", "change"}
    kinds = {name: "constexpr" if name.isupper() else "i32" for name in function.arg_names}
    kinds |= dict.fromkeys(floats, "*fp32") | {"tolerance": "fp32"}
    kinds |= {"wanted": "*fp64", "known": "*i64", "iterations": "*i32", "done": "*i32"}
    signature = {name: kinds[name] for name in function.arg_names}
    constants = {name: constants[name] for name, kind in signature.items() if kind == "constexpr"}
    try:
        source = compiler.ASTSource(function, signature, constants)
    except TypeError:
        pytest.skip("this version of Triton takes other arguments")
    options = {"num_warps": tile.warps, "enable_fp_fusion": True}
    compiled = compiler.compile(source, target=target, options=options)
    assert "rcp.approx" in compiled.asm["ptx"]
