"""Batch norm over several real processes against plain batch norm over the whole batch."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import errors, running
from torch import Tensor, nn

from cce_ray.models import MODELS
from cce_ray.models.synced_batch_norm import SyncedBatchNorm, combined, moments, sync_batch_norms

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("ranks_of_batch_norm.py")
SIZES = {2: (1, 7), 3: (2, 1, 5)}
BATCH, CHANNELS = 8, 3


@dataclass
class Case:
    """A model with batch norm, and how its inputs look."""

    model: nn.Module
    shape: tuple[int, ...] = (CHANNELS, 5, 6)
    dtype: torch.dtype = torch.float64
    steps: int = 1
    views: int = 1
    center: float = 0.5
    channels_last: bool = False
    of_inputs: bool = True
    bf16: bool = False
    tolerance: float = 1e-10


def convolved() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3)
    )


CASES = {
    "rows": Case(nn.BatchNorm1d(CHANNELS), shape=(CHANNELS,)),
    "sequences": Case(nn.BatchNorm1d(CHANNELS), shape=(CHANNELS, 20)),
    "images": Case(nn.BatchNorm2d(CHANNELS), steps=3),
    "tiny images": Case(nn.BatchNorm2d(CHANNELS), shape=(CHANNELS, 2, 2), steps=2),
    "channels last": Case(nn.BatchNorm2d(CHANNELS), channels_last=True),
    "no affine": Case(nn.BatchNorm2d(CHANNELS, affine=False, eps=0.1)),
    "no statistics": Case(nn.BatchNorm2d(CHANNELS, track_running_stats=False)),
    "cumulative": Case(nn.BatchNorm2d(CHANNELS, momentum=None), steps=3),
    "first layer": Case(nn.BatchNorm2d(CHANNELS), of_inputs=False),
    "two views": Case(convolved(), views=2, steps=2),
    "float32": Case(convolved(), dtype=torch.float32, steps=2, tolerance=1e-5),
    "float32 rows": Case(nn.BatchNorm1d(CHANNELS), shape=(CHANNELS,), dtype=torch.float32, tolerance=1e-5),
    "far away": Case(nn.BatchNorm2d(CHANNELS), dtype=torch.float32, center=1000.0, tolerance=1e-3),
    "bf16": Case(convolved(), dtype=torch.float32, bf16=True, views=2, tolerance=0.02),
    "bf16 channels last": Case(
        convolved(), dtype=torch.float32, bf16=True, channels_last=True, tolerance=0.02
    ),
}


def work_of(case: Case) -> dict[str, Any]:
    """The case as the ranks get it: batches [step][view] of inputs and dLoss/doutputs."""
    torch.manual_seed(1)
    model = case.model.to(case.dtype)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)

    def view() -> tuple[Tensor, Tensor]:
        inputs = torch.randn(BATCH, *case.shape, dtype=case.dtype) * 2 + case.center
        if case.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        slopes = torch.randn_like(copy.deepcopy(model)(inputs))
        return inputs, slopes

    batches = [[view() for _ in range(case.views)] for _ in range(case.steps)]
    return {
        "model": model,
        "plain": copy.deepcopy(model),
        "batches": batches,
        "of_inputs": case.of_inputs,
        "bf16": case.bf16,
    }


def training_work() -> dict[str, Any]:
    torch.manual_seed(2)
    backbone, head = MODELS["cnn"](widths=(4, 6)).layers((1, 8, 8), 3)
    return {
        "model": nn.Sequential(backbone, head).double(),
        "inputs": torch.randn(BATCH, 1, 8, 8, dtype=torch.float64),
        "targets": torch.arange(BATCH) % 3,
        "steps": 6,
    }


@dataclass
class Outcomes:
    """What the ranks made of the cases."""

    work: dict[str, Any]
    of_ranks: list[dict[str, Any]]


@pytest.fixture(scope="module", params=SIZES)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    folder, ranks = tmp_path_factory.mktemp("ranks"), request.param
    cases = {name: work_of(case) for name, case in CASES.items()}
    work = {"cases": cases, "training": training_work(), "sizes": SIZES[ranks]}
    torch.save(work, folder / "cases.pt")
    with running(SCRIPT, ranks, folder) as wait:
        assert wait() == [0] * ranks, errors(folder)
    return Outcomes(work, [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)])


def alone(case: Case, work: dict[str, Any]) -> dict[str, Any]:
    """The same steps by plain batch norm in one process."""
    model = copy.deepcopy(work["model"])
    outputs, of_inputs = [], []
    for views in work["batches"]:
        inputs = [view.detach().requires_grad_() for view, _ in views]
        with torch.autocast("cpu", torch.bfloat16) if case.bf16 else nullcontext():
            results = [model(own) for own in inputs]
        loss = sum((y * slopes).sum() for y, (_, slopes) in zip(results, views, strict=True)) / BATCH
        assert isinstance(loss, Tensor)
        loss.backward()
        outputs += [result.detach() for result in results]
        of_inputs += [own.grad for own in inputs if own.grad is not None]
    gradients = [parameter.grad for parameter in model.parameters()]
    return {
        "outputs": outputs,
        "of_inputs": of_inputs,
        "of_parameters": gradients,
        "state": model.state_dict(),
    }


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    scale = max(float(expected.abs().max()), 1.0) if expected.is_floating_point() else 1.0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", CASES)
def test_ranks_together_are_one_process_with_the_whole_batch(outcomes: Outcomes, name: str) -> None:
    case = CASES[name]
    expected = alone(case, outcomes.work["cases"][name])
    ranks = [found[name] for found in outcomes.of_ranks]
    for part in ("outputs", "of_inputs") if case.of_inputs else ("outputs",):
        for index, whole in enumerate(expected[part]):
            assert_close(torch.cat([rank[part][index] for rank in ranks]), whole, case.tolerance)
    for rank in ranks:
        for gradient, whole in zip(rank["of_parameters"], expected["of_parameters"], strict=True):
            assert_close(gradient, whole, case.tolerance)
        assert list(rank["state"]) == list(expected["state"])
        for key, whole in expected["state"].items():
            assert_close(rank["state"][key], whole, case.tolerance)


@pytest.mark.parametrize("name", CASES)
def test_running_statistics_are_the_same_on_all_ranks_to_the_bit(outcomes: Outcomes, name: str) -> None:
    first, *others = [found[name]["state"] for found in outcomes.of_ranks]
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", [name for name in CASES if name != "no statistics"])
def test_evaluation_is_that_of_plain_batch_norm_with_the_same_state(outcomes: Outcomes, name: str) -> None:
    for found in outcomes.of_ranks:
        assert torch.equal(*found[name]["evaluations"])


def test_the_memory_format_is_kept(outcomes: Outcomes) -> None:
    rank = outcomes.of_ranks[-1]["channels last"]
    for tensor in (*rank["outputs"], *rank["of_inputs"]):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_training_has_the_loss_curve_of_one_process(outcomes: Outcomes) -> None:
    work = outcomes.work["training"]
    model = copy.deepcopy(work["model"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    curve = []
    for _ in range(work["steps"]):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(work["inputs"]), work["targets"])
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    assert curve[-1] < 0.9 * curve[0]
    for found in outcomes.of_ranks:
        assert found["losses"] == pytest.approx(curve, abs=1e-10)


@pytest.mark.parametrize("shape", [(9, 4), (9, 4, 30), (9, 4, 5, 6), (9, 4, 2, 2), (1, 4)], ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_moments_of_samples(shape: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    samples = (torch.randn(shape) * torch.tensor([1, 2, 0, 4]).view(-1, *[1] * (len(shape) - 2)) + 10).to(
        dtype
    )
    if channels_last:
        samples = samples.movedim(1, -1).contiguous().movedim(-1, 1)
    mean, squares, count = moments(samples)
    columns = samples.double().movedim(1, -1).flatten(0, -2)
    assert mean.dtype == squares.dtype == torch.float64 and count.item() == len(columns)
    accuracy = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(mean, columns.mean(0), rtol=accuracy, atol=0)
    expected = (columns - columns.mean(0)).square().sum(0)
    torch.testing.assert_close(squares, expected, rtol=accuracy, atol=accuracy)


def test_moments_are_combined_without_loss_far_from_the_origin() -> None:
    torch.manual_seed(0)
    samples = torch.randn(1000, 5, dtype=torch.float64) + 1e8
    parts = samples.split([1, 600, 299, 100])
    mean, squares, count = combined(torch.stack([torch.cat(moments(part)) for part in parts]))
    assert count == 1000
    torch.testing.assert_close(mean, samples.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(squares, samples.var(0, correction=0) * 1000, rtol=1e-7, atol=0)


def test_one_process_stays_as_it_is() -> None:
    model = convolved()
    assert sync_batch_norms(model) is model
    assert type(model[1]) is nn.BatchNorm2d


def test_a_group_of_one_stays_as_it_is(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'one'}", rank=0, world_size=1)
    try:
        assert type(sync_batch_norms(nn.BatchNorm2d(3))) is nn.BatchNorm2d
    finally:
        torch.distributed.destroy_process_group()


def test_only_the_class_of_a_layer_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolved()
    layer, parameters, state = model[1], list(model.parameters()), model.state_dict()
    monkeypatch.setattr("cce_ray.models.synced_batch_norm.several_ranks", lambda: True)
    assert sync_batch_norms(sync_batch_norms(model)) is model
    assert model[1] is layer and isinstance(layer, SyncedBatchNorm)
    assert all(now is then for now, then in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == list(state)
    assert isinstance(sync_batch_norms(nn.BatchNorm1d(3)), SyncedBatchNorm)
    assert type(nn.BatchNorm1d(3)) is nn.BatchNorm1d


def test_a_copy_without_other_ranks_is_plain_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    plain, inputs = nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    with monkeypatch.context() as context:
        context.setattr("cce_ray.models.synced_batch_norm.several_ranks", lambda: True)
        synced = sync_batch_norms(copy.deepcopy(plain))
    twin = copy.deepcopy(synced)
    assert torch.equal(twin(inputs), plain(inputs))
    assert torch.equal(twin.eval()(inputs), plain.eval()(inputs))
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in plain.state_dict().items())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        twin.train()(torch.randn(1, 3, 1, 1))
