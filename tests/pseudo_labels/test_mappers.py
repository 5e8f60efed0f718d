import multiprocessing
import threading

import numpy as np
import pytest
from pseudo_label_problems import softmax

from cce_ray.pseudo_labels import OBJECTIVES, estimate_pseudo_labels, mappers


def many_rows(points: int = 1000, clusters: int = 7) -> np.ndarray:
    return softmax(3 * np.random.default_rng(0).normal(size=(points, clusters))).astype(np.float32)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("cores", [2, 3, 64])
def test_threads_cannot_change_a_bit(objective: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappers, "num_threads", lambda: cores)
    options = {"fairness_weight": 10, "objective": objective, "max_iterations": 12, "tolerance": 0}
    inline = estimate_pseudo_labels(many_rows(), backend="inline", **options)
    threads = estimate_pseudo_labels(many_rows(), backend="threads", **options)
    assert np.array_equal(inline.labels, threads.labels)
    assert inline.objective == threads.objective and inline.gap == threads.gap


def test_every_block_is_done_once_and_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappers, "num_threads", lambda: 4)
    done: list[int] = []
    mappers.Threads()(lambda share, first, last: done.extend(range(first, last)), 11)
    assert sorted(done) == list(range(11))

    def fail_in_the_last(share: int, first: int, last: int) -> None:
        if last == 11:
            raise RuntimeError("block 10")

    with pytest.raises(RuntimeError, match="block 10"):
        mappers.Threads()(fail_in_the_last, 11)


def test_auto_takes_threads_for_large_problems_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappers, "num_threads", lambda: 2)
    assert isinstance(mappers.choose_mapper("auto", 2500), mappers.Inline)
    assert isinstance(mappers.choose_mapper("auto", 10**7), mappers.Threads)
    monkeypatch.setattr(mappers, "num_threads", lambda: 1)
    assert isinstance(mappers.choose_mapper("auto", 10**7), mappers.Inline)


def test_several_callers_at_once_get_their_own_results() -> None:
    probs = [many_rows(500, clusters) for clusters in (3, 4, 5, 6)]
    expected = [estimate_pseudo_labels(p, fairness_weight=5).labels for p in probs]
    found: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        found[index] = estimate_pseudo_labels(probs[index], fairness_weight=5, backend="threads").labels

    callers = [threading.Thread(target=work, args=(index,)) for index in range(len(probs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(np.array_equal(found[i], expected[i]) for i in range(len(probs)))


def estimate_in_child(connection: "multiprocessing.connection.Connection") -> None:
    connection.send(estimate_pseudo_labels(many_rows(), fairness_weight=5, backend="threads").labels)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform")
def test_works_in_a_forked_child_after_use_in_the_parent() -> None:
    expected = estimate_pseudo_labels(many_rows(), fairness_weight=5, backend="threads").labels
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=estimate_in_child, args=(sender,))
    child.start()
    sender.close()  # the child has the other end: should it die, receiving ends with an error
    try:
        assert np.array_equal(receiver.recv(), expected)
    finally:
        child.kill()
        child.join()


def test_torch_decides_the_number_of_threads() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert mappers.num_threads() == 1
        torch.set_num_threads(1000)
        assert mappers.num_threads() == mappers.available_cores()
    finally:
        torch.set_num_threads(before)
