"""How long one estimation of pseudo-labels takes: `pytest tests/benchmarks`. Nothing is asserted of a time.

`cce bench pseudo-labels` compares the solvers; here one call is timed, most of them with 20 EM iterations.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest

from cce_ray.pseudo_labels import SOLVERS, estimate_pseudo_labels

ITERATIONS = 20


def predictions(num_points: int, num_clusters: int, dtype: type) -> np.ndarray:
    """Softmax of normal logits with standard deviation 3: some rows sure, some not."""
    logits = 3 * np.random.default_rng(0).normal(size=(num_points, num_clusters))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(dtype)


def estimate(probs: np.ndarray, **options: Any) -> partial[Any]:
    settings = {"fairness_weight": 10.0, "max_iterations": ITERATIONS, "tolerance": 0, "solver": "em"}
    return partial(estimate_pseudo_labels, probs, **{**settings, **options})


@pytest.mark.parametrize("backend", ["inline", "threads"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_clusters", [10, 200])
def test_em_call(benchmark: Any, num_clusters: int, dtype: type, backend: str) -> None:
    result = benchmark(estimate(predictions(250, num_clusters, dtype), backend=backend))
    assert result.iterations == ITERATIONS


@pytest.mark.parametrize("num_points", [600, 10_000])
def test_em_call_with_more_points(benchmark: Any, num_points: int) -> None:
    assert benchmark(estimate(predictions(num_points, 10, np.float32))).iterations == ITERATIONS


@pytest.mark.parametrize("num_clusters", [10, 200])
def test_call_without_iterations(benchmark: Any, num_clusters: int) -> None:
    """What a call costs besides its iterations: checks, start, value."""
    call = estimate(predictions(250, num_clusters, np.float32), max_iterations=0, backend="inline")
    assert benchmark(call).iterations == 0


@pytest.mark.parametrize("num_clusters", [10, 200])
def test_certificate(benchmark: Any, num_clusters: int) -> None:
    call = estimate(predictions(250, num_clusters, np.float32), max_iterations=0, backend="inline")
    assert benchmark(lambda: call().gap) > 0


@pytest.mark.parametrize(
    "solver", [name for name, kind in SOLVERS.items() if "cce_plus" in kind.abilities["host"].objectives]
)
def test_call_to_a_gap(benchmark: Any, solver: str) -> None:
    probs = predictions(250, 10, np.float64)
    result = benchmark(
        estimate(probs, solver=solver, max_iterations=100_000, gap_tolerance=1e-3, backend="inline")
    )
    assert result.gap <= 1e-3
