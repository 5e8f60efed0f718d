"""The training loop: deterministic, resumable to the bit, honest about what it measures."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from cce_ray.config import RunConfig, load_config
from cce_ray.data import Batches, Dataset, load_dataset
from cce_ray.metrics import clustering_scores
from cce_ray.training import LocalContext, TrainResult, predict, train

CPU = torch.device("cpu")


class Stopped(Exception):
    """The process was killed, as seen from inside."""


def with_settings(config: RunConfig, section: str, **values: object) -> RunConfig:
    return config.with_({f"{section}.{key}": value for key, value in values.items()})


def run(config: RunConfig, folder: Path | None = None, resume: bool = False, stop_at: int = 0) -> TrainResult:
    def on_step(step: int, total: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        if step == stop_at:
            raise Stopped

    context = LocalContext(CPU, folder=folder, resume=resume, on_step=on_step)
    return train(config, load_dataset(config.data), context)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return result.model.state_dict()


def assert_same_bits(one: TrainResult, other: TrainResult) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = ("throughput/", "em/share")
    return [{k: v for k, v in epoch.items() if not k.startswith(timed)} for epoch in history]


def test_a_seed_decides_the_result(digits_config: RunConfig) -> None:
    first = run(digits_config)
    assert_same_bits(first, run(digits_config))
    other = run(with_settings(digits_config, "runtime", seed=1))
    assert not torch.equal(weights(first)["head.weight"], weights(other)["head.weight"])


@pytest.mark.parametrize("stop_at", [1, 4, 6])
@pytest.mark.parametrize(("optimizer", "momentum"), [("adam", 0.0), ("sgd", 0.9)])
def test_a_run_killed_anywhere_resumes_bit_for_bit(
    digits_config: RunConfig, checkpoint_folder: Path, stop_at: int, optimizer: str, momentum: float
) -> None:
    config = with_settings(digits_config, "optimizer", name=optimizer, momentum=momentum)
    config = with_settings(config, "runtime", checkpoint_seconds=0.0)
    whole = run(config)
    with pytest.raises(Stopped):
        run(config, checkpoint_folder, stop_at=stop_at)
    # The step in which it stopped was not saved: the checkpoint is one step behind, inside an epoch.
    resumed = run(config, checkpoint_folder, resume=stop_at > 1)
    assert_same_bits(whole, resumed)
    assert without_times(whole.history) == without_times(resumed.history)


@pytest.mark.parametrize("limit", [400, 899])  # 899 make as many batches as 900
def test_a_checkpoint_of_other_data_is_refused(
    digits_config: RunConfig, checkpoint_folder: Path, limit: int
) -> None:
    config = with_settings(digits_config, "runtime", checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        run(config, checkpoint_folder, stop_at=3)
    with pytest.raises(ValueError, match=rf"made with 900 of 900 samples, the data now give {limit} of"):
        run(with_settings(config, "data", limit=limit), checkpoint_folder, resume=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_resumes_bit_for_bit(digits_config: RunConfig, checkpoint_folder: Path) -> None:
    config = with_settings(digits_config, "runtime", checkpoint_seconds=0.0, compile=True)
    config = with_settings(config, "data", limit=898)  # batches of 299, 299 and 300
    config = with_settings(config, "optimizer", epochs=2)
    config = config.with_({"model": "linear"})
    whole, plain = run(config), run(with_settings(config, "runtime", compile=False))
    assert whole.history[-1]["loss/total"] == pytest.approx(plain.history[-1]["loss/total"], rel=1e-3)
    with pytest.raises(Stopped):
        run(config, checkpoint_folder, stop_at=3)
    torch.compiler.reset()  # a new process, which compiles the third batch's size first
    assert_same_bits(whole, run(config, checkpoint_folder, resume=True))


def test_every_epoch_reports_the_losses_and_the_watch(digits_config: RunConfig) -> None:
    result = run(with_settings(digits_config, "runtime", evaluate_every=2))
    assert len(result.history) == 4
    for epoch in result.history:
        parts = epoch["loss/cross_entropy"] + epoch["loss/augmented"]
        assert epoch["loss/total"] == pytest.approx(parts)
        assert 1 <= epoch["clusters/used"] <= 10
        assert 0.1 <= epoch["confidence/mean"] <= 1
        assert epoch["em/iterations"] <= 10
        assert 0 <= epoch["em/gap"] < 10
    assert "labels/churn" not in result.history[0]
    assert 0 <= result.history[1]["labels/churn"] <= 1
    assert ["score/accuracy" in epoch for epoch in result.history] == [False, True, False, True]


def evaluate(config: RunConfig, result: TrainResult, dataset: Dataset) -> float:
    indices = dataset.evaluation_indices
    batches = Batches(dataset.samples, indices, batch_size=len(indices), device=CPU)
    assert dataset.labels is not None
    clusters = predict(result.model, batches).argmax(1)
    return clustering_scores(dataset.labels[indices], clusters, dataset.num_clusters)["accuracy"]


@pytest.mark.parametrize("method", ["cce_plus", "cce", "shannon"])
def test_a_linear_model_learns_the_digits(method: str) -> None:
    overrides = [
        "data=digits",
        f"method={method}",
        "model=linear",
        "optimizer.epochs=15",
        "runtime.threads=1",
    ]
    overrides += [
        "optimizer.learning_rate=0.02",
        "optimizer.batch_size=300",
        "pseudo_labels.max_iterations=30",
    ]
    if method != "shannon":
        overrides.append("method.fairness_weight=20")
    config = load_config(None, overrides)[0].resolved()
    dataset = load_dataset(config.data)
    result = train(config, dataset, LocalContext(CPU))
    assert evaluate(config, result, dataset) > 0.55  # chance is 0.1
    assert result.history[-1]["loss/total"] < result.history[0]["loss/total"]


def test_kmeans_is_scikit_learns_and_its_model_gives_the_same_clusters() -> None:
    from sklearn.cluster import KMeans

    config = load_config(None, ["data=digits", "method=kmeans", "runtime.threads=1"])[0].resolved()
    dataset = load_dataset(config.data)
    result = train(config, dataset, LocalContext(CPU))
    batches = Batches(dataset.samples, dataset.train_indices, batch_size=500, device=CPU)
    clusters = predict(result.model, batches).argmax(1)
    rows = np.concatenate([result.model.normalize(x).flatten(1).numpy() for _, x in batches.sequential()])
    assert (KMeans(10, n_init=10, random_state=0).fit(rows).labels_ == clusters).mean() > 0.999
    assert evaluate(config, result, dataset) > 0.7
    assert result.history == []


@pytest.mark.parametrize("batch_size", [300, 5])  # 5: fewer than the clusters
def test_kmeans_beyond_the_memory_limit_takes_mini_batches(batch_size: int) -> None:
    overrides = ["data=digits", "method=kmeans", "method.memory_limit_gib=0.0001"]
    overrides.append(f"optimizer.batch_size={batch_size}")
    config = load_config(None, [*overrides, "runtime.threads=1"])[0].resolved()
    dataset = load_dataset(config.data)
    result = train(config, dataset, LocalContext(CPU))
    assert evaluate(config, result, dataset) > (0.6 if batch_size == 300 else 0.4)


def test_divergence_is_one_clear_line(digits_config: RunConfig) -> None:
    wild = with_settings(digits_config, "optimizer", name="sgd", learning_rate=1e30, warmup=0.0)
    with pytest.raises(ValueError, match=r"optimizer\.learning_rate: training diverged in epoch \d"):
        run(wild)


def test_bf16_trains_close_to_float32(digits_config: RunConfig) -> None:
    half = run(with_settings(digits_config, "runtime", precision="bf16"))
    full = run(digits_config)
    assert weights(half)["head.weight"].dtype == torch.float32
    first = [result.history[0]["loss/total"] for result in (half, full)]
    assert first[0] == pytest.approx(first[1], rel=0.05)


def test_training_and_evaluation_samples_are_apart_when_split(digits_config: RunConfig) -> None:
    config = with_settings(digits_config, "data", split=0.25)
    dataset = load_dataset(config.data)
    seen: set[int] = set()
    original = Batches.epoch

    def spy(self: Batches, epoch: int, start: int = 0):  # type: ignore[no-untyped-def]
        for indices, inputs in original(self, epoch, start):
            seen.update(indices.tolist())
            yield indices, inputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "epoch", spy)
        train(config, dataset, LocalContext(CPU))
    assert seen == set(dataset.train_indices.tolist())
    assert not seen & set(dataset.evaluation_indices.tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_run_agrees_with_the_cpu(digits_config: RunConfig) -> None:
    result = train(digits_config, load_dataset(digits_config.data), LocalContext(torch.device("cuda")))
    reference = run(digits_config)
    first = [r.history[0]["loss/total"] for r in (result, reference)]
    assert first[0] == pytest.approx(first[1], rel=1e-3)
