"""How fast the EM kernel is, and how fast this machine could do its work at most.

The limit of one iteration is the slowest of three: moving its bytes, its divisions, its other arithmetic,
each at the rate a loop that does nothing else reaches on one thread of this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cce_ray.experiments.solver_race.baselines import plain_slack_em
from cce_ray.experiments.solver_race.stopwatch import median_seconds
from cce_ray.pseudo_labels import compiled, estimate_pseudo_labels

# The least that an iteration with a warm start does to an entry of y, whatever the implementation: the terms
# of h at the old slack, one Newton step, the terms at the new one. A term is one division and six products
# and sums (fused where possible); weighing takes four, storing and the cluster sums three.
_TERMS = 2
DIVISIONS = _TERMS
MULTIPLY_ADDS = _TERMS * 6 + 4 + 3
MOVES = 3  # σ and y are read, y is written

SKIPPED, COUNTED = 10, 40  # the first iterations move far and take more Newton steps: they are not counted
_FAIRNESS_WEIGHT = 10.0
_LANES = 512  # numbers a micro-benchmark works on: they stay in the first-level cache
_FUSED = 8


@compiled
def _copy_scaled(target: np.ndarray, source: np.ndarray, factors: np.ndarray, rounds: int) -> None:
    """There and back, `rounds` times; the factor, one, keeps the compiler from seeing that it is a copy."""
    for _ in range(rounds):
        for j in range(len(source)):
            target[j] = source[j] * factors[0]
        for j in range(len(source)):
            source[j] = target[j] * factors[0]


@compiled
def divide(values: np.ndarray, numerators: np.ndarray, rounds: int) -> None:
    """x -> c/x, `rounds` times for every number: nothing but packed divisions."""
    for _ in range(rounds):
        for j in range(len(values)):
            values[j] = numerators[0] / values[j]


@compiled
def _multiply_add(values: np.ndarray, slopes: np.ndarray, shifts: np.ndarray, rounds: int) -> None:
    """`_FUSED` fused multiply-adds for every number, `rounds` times."""
    for _ in range(rounds):
        for j in range(len(values)):
            x = values[j]
            x = x * slopes[0] + shifts[0]
            x = x * slopes[1] + shifts[1]
            x = x * slopes[2] + shifts[2]
            x = x * slopes[3] + shifts[3]
            x = x * slopes[4] + shifts[4]
            x = x * slopes[5] + shifts[5]
            x = x * slopes[6] + shifts[6]
            x = x * slopes[7] + shifts[7]
            values[j] = x


def machine_rates(dtype: type, num_entries: int, budget: float) -> dict[str, float]:
    """Bytes copied (read + written), divisions and multiply-adds a second on one thread.

    Args:
        dtype: np.float32 or np.float64.
        num_entries: M·K; the copy is of arrays of this size, so that they lie in the cache that the kernel's
            arrays lie in.
        budget: seconds to spend on each of the three.
    """
    source: np.ndarray = np.ones(num_entries, dtype)
    target = np.zeros_like(source)
    values: np.ndarray = np.linspace(1, 2, _LANES).astype(dtype)
    constants: np.ndarray = np.array([[0.5], [0.25], [1.0]], dtype).repeat(_FUSED, axis=1)
    slopes, shifts, ones = constants
    rounds, copies = 2000, max(1, 1_000_000 // num_entries)

    def seconds(call: Callable[[], object]) -> float:
        call()
        return median_seconds(call, budget)

    dividing = seconds(lambda: divide(values, shifts, rounds))
    adding = seconds(lambda: _multiply_add(values, slopes, shifts, rounds))
    copying = seconds(lambda: _copy_scaled(target, source, ones, copies))
    return {
        "bytes_per_second": 4 * source.nbytes * copies / copying,
        "divisions_per_second": _LANES * rounds / dividing,
        "multiply_adds_per_second": _LANES * _FUSED * rounds / adding,
    }


def _seconds_per_iteration(run: Callable[[int], object], budget: float, counted: int = COUNTED) -> float:
    """Seconds of one iteration: `run(SKIPPED + counted)` less `run(SKIPPED)`, over `counted`.

    What a call costs besides its iterations cancels.
    """
    run(1)
    few = median_seconds(lambda: run(SKIPPED), budget / 2)
    many = median_seconds(lambda: run(SKIPPED + counted), budget / 2)
    return max(many - few, 1e-9) / counted


def _em_run(probs: np.ndarray) -> Callable[[int], object]:
    """Our EM on one thread for a number of iterations."""
    return lambda iterations: estimate_pseudo_labels(
        probs,
        fairness_weight=_FAIRNESS_WEIGHT,
        solver="em",
        backend="inline",
        max_iterations=iterations,
        tolerance=0,
    )


def kernel_rate(probs: np.ndarray, budget: float) -> dict[str, Any]:
    """Iterations a second of `em` on one thread, those that each limit allows, and which one binds."""
    counted = COUNTED if probs.size < 1_000_000 else COUNTED // 4
    seconds = _seconds_per_iteration(_em_run(probs), budget, counted)
    rates = machine_rates(probs.dtype.type, probs.size, budget / 10)
    limits = {
        "memory": rates["bytes_per_second"] / (MOVES * probs.nbytes),
        "divisions": rates["divisions_per_second"] / (DIVISIONS * probs.size),
        "multiply-adds": rates["multiply_adds_per_second"] / (MULTIPLY_ADDS * probs.size),
    }
    binding = min(limits, key=lambda name: limits[name])
    return {
        "num_points": probs.shape[0],
        "num_clusters": probs.shape[1],
        "dtype": probs.dtype.name,
        "iterations_per_second": 1 / seconds,
        "nanoseconds_per_entry": 1e9 * seconds / probs.size,
        "machine": rates,
        "limits": limits,
        "binding": binding,
        "fraction": 1 / seconds / limits[binding],
    }


def plain_loop_ratio(probs: np.ndarray, budget: float) -> dict[str, Any]:
    """Time of one EM iteration as plain Numba loops over that of `em`, both on one thread."""
    prior = np.full(probs.shape[1], 1 / probs.shape[1])

    def plain(iterations: int) -> None:
        plain_slack_em(probs, probs.copy(), prior, _FAIRNESS_WEIGHT, iterations)

    plain_seconds = _seconds_per_iteration(plain, budget)
    em_seconds = _seconds_per_iteration(_em_run(probs), budget)
    return {
        "num_points": probs.shape[0],
        "num_clusters": probs.shape[1],
        "dtype": probs.dtype.name,
        "plain_seconds": plain_seconds,
        "em_seconds": em_seconds,
        "ratio": plain_seconds / em_seconds,
    }
