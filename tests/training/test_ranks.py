"""Several processes train as one: the same losses, the same model on all, whatever their number."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import errors, running

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("rank_run.py")
COMMON = [
    "runtime.threads=1",
    "tracking.enabled=false",
    "data=digits",
    "data.limit=617",  # batches of 102 and 103: uneven for two and for three ranks
    "optimizer.batch_size=103",
    "optimizer.epochs=2",
    "method.augmentation_weight=1",
    "method.fairness_weight=20",
    "pseudo_labels.max_iterations=10",
]
SGD = ["optimizer.name=sgd", "optimizer.momentum=0.9"]
MODELS = {
    "linear": ["model=linear", "optimizer.learning_rate=0.02"],
    "mlp": ["model=mlp", *SGD, "optimizer.learning_rate=0.05"],
    # Every epoch one step. Max pooling and ReLU make more of rounding with every step.
    "vgg4": [
        "model=vgg4",
        *SGD,
        "optimizer.learning_rate=0.01",
        "data.limit=129",
        "optimizer.batch_size=129",
    ],
}
SCOPES = {
    "dataset": ["model=linear", "optimizer.learning_rate=0.02", "pseudo_labels.scope=dataset"],
    "rank": ["model=linear", "optimizer.learning_rate=0.02", "pseudo_labels.scope=rank"],
}
LINEAR = ["model=linear", "optimizer.learning_rate=0.02"]
METHODS = {
    "mi": [*LINEAR, "method=mi"],
    "iic": [*LINEAR, "method=iic"],
    "iic_finer": [*LINEAR, "method=iic", "method.over_clusters=15"],
    "imsat": [*LINEAR, "method=imsat"],
    "simclr": ["model=mlp", *SGD, "optimizer.learning_rate=0.01", "method=simclr"],
    "scan": [*LINEAR, "method=scan", "method.neighbours=5"],
    "scan_taught": [
        *LINEAR,
        "method=scan",
        "method.neighbours=5",
        "method.self_labelling=0.5",
        "method.confidence_threshold=0.2",
    ],
    "sela": [*LINEAR, "method=sela", "method.augmentation_weight=1"],
    "told": [*LINEAR, "method=cce_plus", "method.fairness_weight=20", "supervision.ratio=0.1"],
}
"""Losses of the whole batch's means, of all its pairs, of neighbours, of a few known labels."""
WRONG = {
    "diverges": [*MODELS["mlp"], "optimizer.learning_rate=1e30", "optimizer.momentum=0"],
    "diverges_at_once": [
        *MODELS["linear"],
        *SGD,
        "pseudo_labels.scope=dataset",
        "optimizer.learning_rate=1e38",
    ],
    "few": ["model=linear", "optimizer.batch_size=2"],
}
Outcome = dict[str, Any]


def whole(runs: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [*common(run), *run] for name, run in runs.items()}


def common(run: list[str]) -> list[str]:
    """What a run shares with the others: the method's settings, unless it has a method of its own."""
    own = any(part.startswith("method=") for part in run)
    return [part for part in COMMON if not (own and part.startswith("method."))]


def outcomes(size: int, folder: Path, runs: dict[str, list[str]], **options: Any) -> list[Outcome]:
    """What every rank ended with."""
    folder.mkdir(exist_ok=True)
    with running(SCRIPT, size, folder, whole(runs), *options.values()) as wait:
        assert wait() == [0] * size, errors(folder)
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(size)]


@pytest.fixture(scope="module")
def by_size(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Outcome]]:
    """{number of ranks: what each of them ended with}."""
    folder = tmp_path_factory.mktemp("ranks")
    return {size: outcomes(size, folder / str(size), MODELS | SCOPES | METHODS | WRONG) for size in (1, 2, 3)}


def losses(found: dict[str, Any]) -> list[float]:
    return [epoch["loss/total"] for epoch in found["history"]]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("model", [*MODELS, "dataset", *METHODS])
def test_the_number_of_ranks_changes_no_loss_beyond_rounding(
    by_size: dict[int, list[Outcome]], model: str, size: int
) -> None:
    alone, ranks = by_size[1][0][model], [rank[model] for rank in by_size[size]]
    assert losses(ranks[0]) == pytest.approx(losses(alone), rel=1e-5)
    assert len(losses(alone)) == 2
    for name, tensor in alone["weights"].items():
        assert torch.allclose(ranks[0]["weights"][name], tensor, rtol=1e-3, atol=1e-4), name
    for other in ranks[1:]:
        for name, tensor in ranks[0]["weights"].items():
            assert torch.equal(tensor, other["weights"][name]), name
        for key in ("loss/total", "clusters/used", "train/accuracy", "confidence/mean"):
            assert [e[key] for e in other["history"]] == [e[key] for e in ranks[0]["history"]]


@pytest.mark.parametrize("size", [2, 3])
def test_labels_that_ranks_estimate_together_have_the_bits_of_one(
    by_size: dict[int, list[Outcome]], size: int
) -> None:
    assert all(rank["shared"] == [True] * 5 for rank in by_size[size])


@pytest.mark.parametrize("size", [2, 3])
def test_a_mistake_ends_all_ranks_with_the_same_line(by_size: dict[int, list[Outcome]], size: int) -> None:
    for rank in by_size[size]:
        assert rank["diverges"] == by_size[size][0]["diverges"]
        assert rank["diverges"]["error"].startswith("optimizer.learning_rate: training diverged in epoch")
        assert rank["diverges_at_once"] == by_size[size][0]["diverges_at_once"]
        assert rank["diverges_at_once"]["error"].startswith("optimizer.learning_rate: training diverged")
        if size == 3:
            assert rank["few"]["error"].startswith("runtime.workers: 3 workers for batches of 1 samples")


def test_each_rank_balances_its_own_part_if_it_is_asked_to(by_size: dict[int, list[Outcome]]) -> None:
    alone, batch, rank = by_size[1][0]["rank"], by_size[2][0]["linear"], by_size[2][0]["rank"]
    assert losses(alone) == losses(by_size[1][0]["linear"])  # one rank: the batch
    assert losses(rank) != pytest.approx(losses(batch), rel=1e-3)
    assert losses(rank) == losses(by_size[2][1]["rank"])


def test_ranks_that_were_killed_go_on_to_the_same_bits(
    by_size: dict[int, list[Outcome]], tmp_path: Path
) -> None:
    runs = {"mlp": [*MODELS["mlp"], "runtime.checkpoint_seconds=0"]}
    with running(SCRIPT, 3, tmp_path, whole(runs), 8) as wait:
        codes = wait()
    assert codes[0] == 9 and all(codes)  # the others end as well: no peer is waited for in vain
    assert (tmp_path / "checkpoint.pt").exists() and not (tmp_path / "rank_0.pt").exists()
    resumed = outcomes(3, tmp_path, runs, stop_at=0, resume=True)[0]["mlp"]
    undisturbed = by_size[3][0]["mlp"]
    for name, tensor in undisturbed["weights"].items():
        assert torch.equal(tensor, resumed["weights"][name]), name
    assert losses(undisturbed) == losses(resumed)
