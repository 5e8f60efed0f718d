"""How fast EM is on a CUDA device: `python tests/benchmarks/bench_device_em.py`.

Three tables: the batch of the paper (M=250, K=10, 50 iterations) in one launch; the edge between one launch
and two an iteration, captured in a CUDA graph and not; and one iteration of large problems, as a share of the
speed at which this device copies memory. Medians of CUDA events, every kernel warmed up. Not a test: timings
depend on the device.
"""
# ruff: noqa: T201

import argparse
import statistics
from collections.abc import Callable

import torch

from cce_ray.pseudo_labels.device import em as device_em
from cce_ray.pseudo_labels.device.em import SeveralLaunches, em_on_device

ITERATIONS = 50
WEIGHT = 10.0


def predictions(num_points: int, num_clusters: int) -> torch.Tensor:
    """Softmax of normal logits with standard deviation 3: some rows sure, some not."""
    torch.manual_seed(0)
    return torch.softmax(3 * torch.randn(num_points, num_clusters, device="cuda"), dim=1)


def microseconds(call: Callable[[], object], repeats: int) -> float:
    """Median over `repeats` calls, each between its own pair of events."""
    for _ in range(3):
        call()
    pairs = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        pairs.append((start, stop))
    torch.cuda.synchronize()
    return 1e3 * statistics.median(start.elapsed_time(stop) for start, stop in pairs)


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """The same work as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def one_launch(probs: torch.Tensor, iterations: int = ITERATIONS) -> Callable[[], object]:
    """EM in one launch, with everything that comes before it prepared."""
    inputs = device_em._prepare(probs, None, WEIGHT, None, None)
    return lambda: device_em._one_launch(inputs, iterations, 0.0)


def several_launches(probs: torch.Tensor, iterations: int = ITERATIONS) -> Callable[[], object]:
    """EM in two launches an iteration."""
    work = SeveralLaunches(probs.shape[0], probs.shape[1], probs.dtype, probs.device)
    return lambda: work.run(probs, None, WEIGHT, max_iterations=iterations, tolerance=0.0)


def batch(repeats: int) -> None:
    """The batch of the paper, as the device sees it (a graph's replay) and as the caller does."""
    probs = predictions(250, 10)
    device = microseconds(captured(one_launch(probs)), repeats)
    caller = microseconds(
        lambda: em_on_device(probs, None, WEIGHT, max_iterations=ITERATIONS, tolerance=0.0), repeats
    )
    print(f"M=250 K=10, {ITERATIONS} iterations: {device:.1f} µs in one launch, {caller:.1f} µs a call")


def edge(repeats: int) -> None:
    """One launch against two an iteration, microseconds."""
    print(f"{ITERATIONS} iterations, µs\n{'M':>6s}{'K':>6s}{'one launch':>13s}{'several':>10s}{'graph':>10s}")
    for num_clusters in (10, 30, 64):
        for num_points in (128, 256, 512, 1024, 2048, 4096):
            probs = predictions(num_points, num_clusters)
            several = several_launches(probs)
            times = [microseconds(call, repeats) for call in (one_launch(probs), several, captured(several))]
            print(f"{num_points:6d}{num_clusters:6d}{times[0]:13.1f}{times[1]:10.1f}{times[2]:10.1f}")


def copying(source: torch.Tensor) -> Callable[[], object]:
    """A copy from the device's memory to itself."""
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def bandwidth(num_points: int, num_clusters: int, repeats: int) -> None:
    """Bytes an iteration must move (σ and y in, y out) in the time it takes, against a copy of the device."""
    probs = predictions(num_points, num_clusters)
    copy = 2 * probs.nbytes / microseconds(copying(probs), repeats)
    few, many = (microseconds(several_launches(probs, count), repeats) for count in (10, 30))
    iteration = (many - few) / 20
    rate = 3 * probs.nbytes / iteration
    print(
        f"M={num_points} K={num_clusters}: {iteration / 1e3:.3f} ms an iteration, {rate / 1e6:.2f} TB/s, "
        f"{rate / copy:.0%} of a copy's {copy / 1e6:.2f} TB/s"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure")
        return
    print(torch.cuda.get_device_name())
    batch(repeats)
    edge(repeats)
    for num_points, num_clusters in ((1_000_000, 10), (1_000_000, 1000), (100_000, 10_000)):
        bandwidth(num_points, num_clusters, max(3, repeats // 10))


if __name__ == "__main__":
    main()
