"""EM in Ray actors: the bits of one process, also when actors die; nothing is left behind."""

import os
import signal
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import wait_until

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.problem import group_rows

pytestmark = pytest.mark.ray

POINTS, CLUSTERS = 20_000, 12
OPTIONS = {"fairness_weight": 20.0, "max_iterations": 12, "tolerance": 0.0}


@pytest.fixture(scope="module", autouse=True)
def connected(ray_cluster: Any) -> Iterator[None]:
    import ray

    ray.init(address=ray_cluster.address, log_to_driver=False)
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


def described(probs: np.ndarray) -> list[Any]:
    """Pieces for RayRows."""
    from cce_ray.distributed.em.rows import Piece

    references, rows = put(probs)
    starts = [0, *np.cumsum(rows)[:-1].tolist()]
    return [Piece(*piece) for piece in zip(references, starts, rows, strict=True)]


def means_of(held: Any) -> Any:
    from cce_ray.pseudo_labels.solvers.em import Means

    return Means(held, POINTS, np.full(CLUSTERS, 1 / CLUSTERS), 20.0, 0.0)


def whole(references: list[Any]) -> np.ndarray:
    import ray

    return np.concatenate(ray.get(references))


@pytest.fixture(scope="module")
def expected() -> Any:
    return estimate_pseudo_labels(softmax(POINTS), solver="em", **OPTIONS)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_any_number_of_workers_gives_the_bits_of_one_process(workers: int, expected: Any) -> None:
    from cce_ray.distributed.em.rows import estimate_dataset

    pieces, rows = put(softmax(POINTS))
    labels, result, gap = estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=workers, **OPTIONS)
    assert np.array_equal(whole(labels), expected.labels)
    assert result.iterations == expected.iterations == 12
    assert gap == expected.gap


def test_labels_beyond_the_memory_limit_lie_in_files_and_have_the_same_bits(expected: Any) -> None:
    from cce_ray.distributed.em.rows import estimate_dataset

    pieces, rows = put(softmax(POINTS))
    labels, _, _ = estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, memory_limit=0, **OPTIONS)
    assert np.array_equal(whole(labels), expected.labels)


# Without a limit holders map all of σ: Ray first looks, for long, for room in its store, then uses files.
@pytest.mark.parametrize("memory_limit", [0, pytest.param(None, marks=pytest.mark.slow)])
def test_predictions_larger_than_the_object_store_spill(memory_limit: int | None) -> None:
    from cce_ray.distributed.em.rows import estimate_dataset

    probs = softmax(300_000, 100)  # 120 MB of σ and as much of y, in a store of 100 MB
    pieces, rows = put(probs, groups=16)
    options = OPTIONS | {"max_iterations": 2}
    labels, _, _ = estimate_dataset(
        pieces, rows, num_clusters=100, workers=2, memory_limit=memory_limit, **options
    )
    found = estimate_pseudo_labels(probs, solver="em", **options).labels  # type: ignore[arg-type]
    for number, (first, last) in enumerate(pairwise([0, *np.cumsum(rows)])):
        assert np.array_equal(whole([labels[number]]), found[first:last])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids: list[int]) -> None:
    """Return when no such process is left."""
    wait_until(lambda: not any(alive(pid) for pid in pids))


def holders() -> list[int]:
    """Processes of actors, of this Ray or another."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::Holder"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("moment", ["start", "middle", "end"])
def test_a_killed_worker_is_made_again_and_nothing_changes(
    moment: str, limit: int | None, expected: Any
) -> None:
    from cce_ray.distributed.em.rows import RayRows

    pieces = described(softmax(POINTS))
    with RayRows(pieces, num_points=POINTS, fairness_weight=20.0, workers=2, memory_limit=limit) as held:
        pids = [pid for pid, _ in held.processes()]
        if moment == "start":
            os.kill(pids[1], signal.SIGKILL)
        means = means_of(held)
        for iteration in range(12):
            if moment == "middle" and iteration in (4, 8):
                os.kill(held.processes()[iteration % 8 // 4][0], signal.SIGKILL)
            means.advance(held)
        if moment == "end":
            os.kill(pids[0], signal.SIGKILL)
        labels = held.labels()
        assert np.array_equal(whole(labels), expected.labels)
        last = [pid for pid, _ in held.processes()]
    assert_gone([*pids, *last])
    assert np.array_equal(whole(labels), expected.labels)  # the labels outlive them


def test_a_worker_that_dies_while_it_computes_is_not_waited_for_in_vain(
    expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cce_ray.distributed.em.rows import RayRows

    with RayRows(described(softmax(POINTS)), num_points=POINTS, fairness_weight=20.0, workers=2) as held:
        means = means_of(held)
        pid = held.processes()[0][0]
        os.kill(pid, signal.SIGSTOP)
        asked, answer = threading.Event(), held._answer

        def note_and_answer(*question: Any) -> Any:
            if not asked.is_set():  # it has the question and does not answer
                asked.set()
                threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
            return answer(*question)

        monkeypatch.setattr(held, "_answer", note_and_answer)
        for _ in range(12):
            means.advance(held)
        assert np.array_equal(whole(held.labels()), expected.labels)


def test_a_worker_may_be_lost_again_and_again_if_iterations_are_done_in_between(
    expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cce_ray.distributed.em import rows as em

    monkeypatch.setattr(em, "MOST_LOSSES", 2)
    with em.RayRows(described(softmax(POINTS)), num_points=POINTS, fairness_weight=20.0, workers=2) as held:
        means = means_of(held)
        for iteration in range(12):
            if iteration % 4 == 1:
                os.kill(held.processes()[1][0], signal.SIGKILL)
            means.advance(held)
        assert np.array_equal(whole(held.labels()), expected.labels)


def test_a_worker_that_is_always_lost_is_given_up_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from cce_ray.distributed.em import rows as em
    from cce_ray.distributed.em.holder import Holder

    class Mortal(Holder):
        def advance(self, prices: np.ndarray) -> np.ndarray:
            os._exit(1)

    monkeypatch.setattr(em, "MOST_LOSSES", 3)
    monkeypatch.setattr(em, "Holder", Mortal)
    with em.RayRows(described(softmax(POINTS)), num_points=POINTS, fairness_weight=20.0, workers=2) as held:
        pids = [pid for pid, _ in held.processes()]
        with pytest.raises(
            ValueError, match=r"^pseudo_labels.backend: an EM worker was lost 3 times [^\n]*$"
        ):
            means_of(held).advance(held)
    assert_gone(pids)


def test_a_new_worker_that_cannot_catch_up_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from cce_ray.distributed.em import rows as em
    from cce_ray.distributed.em.holder import Holder

    class Forgetful(Holder):
        def catch_up(self, history: Any) -> str:
            if len(history):
                raise MemoryError("no room for y")
            return super().catch_up(history)

    monkeypatch.setattr(em, "Holder", Forgetful)
    with em.RayRows(described(softmax(POINTS)), num_points=POINTS, fairness_weight=20.0, workers=2) as held:
        means = means_of(held)
        means.advance(held)
        os.kill(held.processes()[0][0], signal.SIGKILL)
        with pytest.raises(MemoryError, match="no room for y"):
            means.advance(held)


def test_workers_compute_where_callers_hold_all_cpus(expected: Any) -> None:
    import ray

    pieces, rows = put(softmax(POINTS))

    @ray.remote(num_cpus=1)
    class Trainer:
        def ready(self) -> bool:
            return True

        def labels(self, pieces: list[Any], rows: list[int]) -> np.ndarray:
            from cce_ray.distributed.em.rows import estimate_dataset

            found, _, _ = estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, **OPTIONS)
            return np.concatenate(ray.get(found))

    trainers = [Trainer.remote() for _ in range(2)]
    ray.get([trainer.ready.remote() for trainer in trainers])  # each has one of the two CPUs
    for labels in ray.get([trainer.labels.remote(pieces, rows) for trainer in trainers]):
        assert np.array_equal(labels, expected.labels)


def test_workers_load_no_torch() -> None:
    from cce_ray.distributed.em.rows import RayRows

    with RayRows(described(softmax(1000)), num_points=1000, fairness_weight=1.0, workers=1) as held:
        held.sums()
        assert [heavy for _, heavy in held.processes()] == [[]]


def test_a_rank_without_rows_holds_nothing() -> None:
    from cce_ray.distributed.em.rows import EMHolders

    assert EMHolders(2).hold([], 64, 64, 1.0).finish() == []


def test_holders_of_bad_rows_end() -> None:
    from cce_ray.distributed.em.rows import EMHolders

    before, probs = set(holders()), softmax(POINTS)
    probs[POINTS - 1] = 2.0
    step = 8 * group_rows(POINTS)
    pieces = [probs[first : first + step] for first in range(0, POINTS, step)]
    with pytest.raises(ValueError, match=r"^probs: row 119999 sums to 24"):
        EMHolders(2).hold(pieces, 100_000, 500_000, 1.0)
    assert_gone([pid for pid in holders() if pid not in before])


def test_mistakes_are_one_line() -> None:
    from cce_ray.distributed.em.rows import estimate_dataset

    probs = softmax(POINTS)
    probs[7_000] = np.nan
    pieces, rows = put(probs)
    with pytest.raises(ValueError, match=r"^probs: row 7000 holds NaN or infinity; [^\n]*$"):
        estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, **OPTIONS)
    with pytest.raises(ValueError, match=r"^rows: piece 0 has 100 rows; give multiples of 128"):
        estimate_dataset(pieces, [100, *rows[1:]], num_clusters=CLUSTERS, workers=2, fairness_weight=1.0)
    with pytest.raises(ValueError, match=r"^fairness_weight: -1"):
        estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=2, fairness_weight=-1)
    with pytest.raises(ValueError, match=r"^rows: \[5\] does not fit 16 pieces"):
        estimate_dataset(pieces, [5], num_clusters=CLUSTERS, workers=2, fairness_weight=1.0)
    with pytest.raises(ValueError, match=r"^workers: 0 is not an integer >= 1"):
        estimate_dataset(pieces, rows, num_clusters=CLUSTERS, workers=0, fairness_weight=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: [parts[0], parts[1].astype(np.float64)], "row 640 has 12 columns of float64, those"),
        (lambda parts: [parts[0], parts[1][:-1]], r"the piece from row 640 on is float32 \(639, 12\); give"),
        (lambda parts: [parts[0], parts[1].astype(np.float16)], "the piece from row 640 on is float16"),
        (lambda parts: [parts[0], [1.0]], "the piece from row 640 on is list; give an array of 640 rows"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_pieces_that_do_not_fit_are_told(change: Any, message: str, workers: int) -> None:
    import ray

    from cce_ray.distributed.em.rows import estimate_dataset

    probs = softmax(1280)
    pieces = [ray.put(part) for part in change([probs[:640], probs[640:]])]
    if workers == 2:
        message = message.replace("row 640 has 12 columns of float64, those", "pieces have 12 columns of")
    with pytest.raises(ValueError, match=f"^probs: {message}[^\n]*$"):
        estimate_dataset(pieces, [640, 640], num_clusters=12, workers=workers, fairness_weight=1.0)


def test_a_wrong_number_of_clusters_is_told() -> None:
    from cce_ray.distributed.em.rows import estimate_dataset

    pieces, rows = put(softmax(1000))
    with pytest.raises(ValueError, match=r"^num_clusters: 5, but probs has 12 columns; give 12$"):
        estimate_dataset(pieces, rows, num_clusters=5, workers=1, fairness_weight=1.0)
