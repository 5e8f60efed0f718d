"""EM in Ray actors: the bits of one process, also when actors die; nothing is left behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.spread import group_rows

pytestmark = pytest.mark.ray

POINTS, CLUSTERS = 20_000, 12
OPTIONS = {"fairness_weight": 20.0, "max_iterations": 12, "tolerance": 0.0}


@pytest.fixture(scope="module", autouse=True)
def ray_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    folder = f"/tmp/cce_ray-test-{os.getpid()}"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _temp_dir=folder,
        log_to_driver=False,
        object_store_memory=200_000_000,
    )
    yield
    ray.shutdown()


def softmax(points: int, clusters: int = CLUSTERS) -> np.ndarray:
    logits = 2 * np.random.default_rng(0).standard_normal((points, clusters), dtype=np.float32)
    probs: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probs / probs.sum(axis=1, keepdims=True)


def put(probs: np.ndarray, groups: int = 10) -> tuple[list[Any], list[int]]:
    import ray

    step = groups * group_rows(len(probs))
    edges = [*range(0, len(probs), step), len(probs)]
    parts = [probs[first:last] for first, last in pairwise(edges)]
    return [ray.put(part) for part in parts], [len(part) for part in parts]


def whole(references: list[Any]) -> np.ndarray:
    import ray

    return np.concatenate(ray.get(references))


@pytest.fixture(scope="module")
def expected() -> Any:
    return estimate_pseudo_labels(softmax(POINTS), solver="em", **OPTIONS)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_any_number_of_workers_gives_the_bits_of_one_process(workers: int, expected: Any) -> None:
    from cce_ray.distributed.em import estimate_dataset

    pieces, rows = put(softmax(POINTS))
    labels, result, gap = estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=workers, **OPTIONS)
    assert np.array_equal(whole(labels), expected.labels)
    assert result.iterations == expected.iterations == 12
    assert gap == pytest.approx(expected.gap, rel=1e-6)


def test_labels_beyond_the_memory_limit_lie_in_files_and_have_the_same_bits(expected: Any) -> None:
    from cce_ray.distributed.em import estimate_dataset

    pieces, rows = put(softmax(POINTS))
    labels, _, _ = estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, memory_limit=0, **OPTIONS)
    assert np.array_equal(whole(labels), expected.labels)


def test_predictions_larger_than_the_object_store_spill() -> None:
    from cce_ray.distributed.em import estimate_dataset

    probs = softmax(400_000, 100)  # 160 MB of σ and as much of y, in a store of 200 MB
    pieces, rows = put(probs, groups=16)
    options = OPTIONS | {"max_iterations": 2}
    labels, _, _ = estimate_dataset(pieces, rows, num_clusters=100, workers=2, **options)
    found = estimate_pseudo_labels(probs, solver="em", **options).labels  # type: ignore[arg-type]
    for number, (first, last) in enumerate(pairwise([0, *np.cumsum(rows)])):
        assert np.array_equal(whole([labels[number]]), found[first:last])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("moment", ["start", "middle", "end"])
def test_a_killed_worker_is_made_again_and_nothing_changes(moment: str, expected: Any) -> None:
    from cce_ray.distributed.em import Piece, RayRows
    from cce_ray.pseudo_labels.em import Means

    pieces, rows = put(softmax(POINTS))
    starts = [0, *np.cumsum(rows)[:-1].tolist()]
    described = [Piece(*piece) for piece in zip(pieces, starts, rows, strict=True)]
    with RayRows(described, num_points=POINTS, fairness_weight=20.0, workers=2) as held:
        pids = [pid for pid, _ in held.processes()]
        prior = np.full(CLUSTERS, 1 / CLUSTERS)
        if moment == "start":
            os.kill(pids[1], signal.SIGKILL)
        means = Means(held, POINTS, prior, 20.0, 0.0)
        for iteration in range(12):
            if moment == "middle" and iteration in (4, 8):
                os.kill(held.processes()[iteration % 8 // 4][0], signal.SIGKILL)
            means.advance(held)
        if moment == "end":
            os.kill(pids[0], signal.SIGKILL)
        labels = held.labels()
        assert np.array_equal(whole(labels), expected.labels)
        last = [pid for pid, _ in held.processes()]
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in [*pids, *last]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in [*pids, *last])  # no actor is left
    assert np.array_equal(whole(labels), expected.labels)  # the labels outlive them


def test_a_worker_that_dies_while_it_computes_is_not_waited_for_in_vain(expected: Any) -> None:
    from cce_ray.distributed.em import Piece, RayRows
    from cce_ray.pseudo_labels.em import Means

    pieces, rows = put(softmax(POINTS))
    starts = [0, *np.cumsum(rows)[:-1].tolist()]
    described = [Piece(*piece) for piece in zip(pieces, starts, rows, strict=True)]
    with RayRows(described, num_points=POINTS, fairness_weight=20.0, workers=2) as held:
        means = Means(held, POINTS, np.full(CLUSTERS, 1 / CLUSTERS), 20.0, 0.0)
        pid = held.processes()[0][0]
        os.kill(pid, signal.SIGSTOP)  # it has the question and does not answer
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        for _ in range(12):
            means.advance(held)
        assert np.array_equal(whole(held.labels()), expected.labels)


def test_workers_load_no_torch() -> None:
    from cce_ray.distributed.em import Piece, RayRows

    probs = softmax(1000)
    pieces, rows = put(probs)
    described = [Piece(pieces[0], 0, rows[0])]
    with RayRows(described, num_points=rows[0], fairness_weight=1.0, workers=1) as held:
        held.sums()
        assert [heavy for _, heavy in held.processes()] == [[]]


def test_mistakes_are_one_line() -> None:
    from cce_ray.distributed.em import estimate_dataset

    probs = softmax(POINTS)
    probs[7_000] = np.nan
    pieces, rows = put(probs)
    with pytest.raises(ValueError, match=r"^probs: row 7000 holds NaN or infinity; [^\n]*$"):
        estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, **OPTIONS)
    with pytest.raises(ValueError, match=r"^rows: piece 0 has 100 rows; give multiples of 128"):
        estimate_dataset(pieces, [100, *rows[1:]], num_clusters=CLUSTERS, workers=2, fairness_weight=1.0)
    with pytest.raises(ValueError, match=r"^fairness_weight: -1"):
        estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, fairness_weight=-1)
