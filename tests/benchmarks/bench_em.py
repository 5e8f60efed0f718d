"""How long one estimation of pseudo-labels takes: `python tests/benchmarks/bench_em.py`.

Prints the median and the best of many calls of `estimate_pseudo_labels` with 20 EM iterations, the part of a
call that is not iterations, and the certificate. Not a test: timings depend on the machine and its load.
"""
# ruff: noqa: T201

import argparse
import time
from collections.abc import Callable

import numpy as np

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.mappers import num_threads

ITERATIONS = 20


def predictions(num_points: int, num_clusters: int, dtype: type) -> np.ndarray:
    """Softmax of normal logits with standard deviation 3: some rows sure, some not."""
    logits = 3 * np.random.default_rng(0).normal(size=(num_points, num_clusters))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(dtype)


def milliseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(median, best) after one warm-up call, which compiles or loads the kernels."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times)), min(times)


def measure(num_points: int, num_clusters: int, dtype: type, backend: str, repeats: int) -> str:
    """One line of the table."""
    probs = predictions(num_points, num_clusters, dtype)

    def estimate(iterations: int = ITERATIONS) -> object:
        return estimate_pseudo_labels(
            probs, fairness_weight=10.0, max_iterations=iterations, tolerance=0, backend=backend
        )

    median, best = milliseconds(estimate, repeats)
    fixed, _ = milliseconds(lambda: estimate(0), repeats)
    gap, _ = milliseconds(lambda: estimate(0).gap, repeats)  # type: ignore[attr-defined]
    kind = np.dtype(dtype).name
    return (
        f"{num_points:7d} {num_clusters:5d}  {kind:8s} {backend:8s}"
        f"{median:9.3f}{best:9.3f}{fixed:9.3f}{gap - fixed:9.3f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    print(f"{ITERATIONS} EM iterations, {num_threads()} threads; milliseconds")
    print(
        f"{'M':>7s} {'K':>5s}  {'dtype':8s} {'backend':8s}{'median':>9s}{'best':>9s}{'0 it.':>9s}{'gap':>9s}"
    )
    for num_clusters in (10, 200):
        for dtype in (np.float32, np.float64):
            for backend in ("inline", "threads"):
                print(measure(250, num_clusters, dtype, backend, repeats))
    print(measure(600, 10, np.float32, "auto", repeats))
    print(measure(10_000, 10, np.float32, "auto", max(3, repeats // 10)))


if __name__ == "__main__":
    main()
