"""Every registered method: its contract, and the equation it stands for."""

import math

import numpy as np
import pytest
import torch

from cce_ray.methods import METHODS, CCEPlus, MethodSettings, Step
from cce_ray.methods.cce import CCE
from cce_ray.methods.kmeans import KMeans
from cce_ray.methods.shannon import Shannon
from cce_ray.models import MODELS
from cce_ray.pseudo_labels import PseudoLabelSettings

TRAINED = [name for name, kind in METHODS.items() if kind.scopes]
SETTINGS = PseudoLabelSettings(max_iterations=30)


def predictions(num_points: int = 60, num_clusters: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(num_points, num_clusters, generator=generator)


@pytest.mark.parametrize("name", TRAINED)
def test_labels_are_fairer_than_the_predictions(name: str) -> None:
    logits = predictions()
    logits[:, 0] += 3
    probs = torch.softmax(logits, 1)
    weights = {"fairness_weight": 20.0} if "fairness_weight" in METHODS[name].model_fields else {}
    labels = METHODS[name](**weights).labels(probs, SETTINGS).labels
    assert labels.shape == probs.shape
    assert not labels.requires_grad
    torch.testing.assert_close(labels.sum(1), torch.ones(60))
    # Not to balance: the closed form of `miadm` by its nature, `sela` in so few iterations.
    most = {"miadm": 0.55, "sela": 0.5}.get(name, 0.35)
    assert labels.mean(0).max() < most < 0.6 < probs.mean(0).max()


@pytest.mark.parametrize("name", TRAINED)
def test_known_labels_are_kept(name: str) -> None:
    known = np.full(60, -1)
    known[7] = 2
    labels = METHODS[name]().labels(torch.softmax(predictions(), 1), SETTINGS, known).labels
    assert labels[7].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_teaches_both_views_with_the_same_labels(name: str) -> None:
    method = METHODS[name](augmentation_weight=2.5)
    logits, augmented = predictions().requires_grad_(), (predictions() * 0.5).requires_grad_()
    labels = torch.softmax(predictions(), 1)
    parts = method.loss(Step(logits, labels, augmented))
    alone = method.loss(Step(logits, labels))
    swapped = method.loss(Step(augmented, labels))
    assert set(alone) == {"cross_entropy"}
    assert parts["cross_entropy"] == alone["cross_entropy"]
    assert parts["augmented"].item() == pytest.approx(2.5 * swapped["cross_entropy"].item())
    torch.stack(list(parts.values())).sum().backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0
    assert augmented.grad is not None and augmented.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [CCEPlus, CCE])
def test_the_collision_loss_is_equation_9(kind: type[MethodSettings]) -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64))
    labels = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    expected = -(math.log(0.45) + math.log(0.8)) / 2
    assert kind().loss(Step(logits, labels))["cross_entropy"].item() == pytest.approx(expected)


def test_the_shannon_loss_is_equation_8() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64))
    labels = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    expected = -0.5 * (math.log(0.7) + math.log(0.2))
    assert Shannon().loss(Step(logits, labels))["cross_entropy"].item() == pytest.approx(expected)


def test_uniform_labels_teach_cce_nothing_and_shannon_to_be_uniform() -> None:
    labels = torch.full((60, 4), 0.25)
    for method, silent in ((CCEPlus(), True), (Shannon(), False)):
        logits = predictions().requires_grad_()
        method.loss(Step(logits, labels))["cross_entropy"].backward()
        assert logits.grad is not None
        assert (logits.grad.abs().max().item() < 1e-6) == silent


def test_a_method_in_closed_form_has_no_labels_and_no_loss() -> None:
    with pytest.raises(TypeError, match="kmeans"):
        KMeans().labels(torch.softmax(predictions(), 1), SETTINGS)
    with pytest.raises(TypeError, match="kmeans"):
        KMeans().loss(Step(predictions(), predictions()))


def test_kmeans_finds_blobs() -> None:
    generator = np.random.default_rng(0)
    centers = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    rows = np.repeat(centers, 50, 0) + generator.normal(0, 0.5, (150, 2)).astype(np.float32)
    state = KMeans().fit(lambda: iter([rows[:70], rows[70:]]), 3, seed=0)
    found = state["head.centers"].numpy()
    for center in centers:
        assert np.abs(found - center).sum(1).min() < 0.3
    assert state["head.inverse_temperature"].item() == pytest.approx(0.5 / 0.25, rel=0.2)


def test_the_mixture_of_known_gaussians_is_found_and_its_posterior_is_bayes() -> None:
    random = np.random.default_rng(0)
    deviations = np.array([[0.3, 1.5], [1.0, 0.5]])
    means = np.array([[0.0, 0.0], [3.0, 1.0]])
    which = (random.random(4000) < 0.3).astype(int)
    points = (means[which] + deviations[which] * random.normal(size=(4000, 2))).astype(np.float32)
    fitted = METHODS["gmm"]().fit(lambda: iter([points[:1500], points[1500:]]), 2, 0)
    assert fitted is not None
    model = MODELS["gaussians"]().build((2,), 2)
    model.load_state_dict(fitted, strict=False)
    order = fitted["head.means"][:, 0].argsort()
    torch.testing.assert_close(
        fitted["head.means"][order], torch.tensor(means, dtype=torch.float32), atol=0.1, rtol=0
    )
    logs = np.stack(
        [
            np.log(share) - np.log(deviation).sum() - 0.5 * (((points - mean) / deviation) ** 2).sum(1)
            for share, mean, deviation in zip((0.7, 0.3), means, deviations, strict=True)
        ],
        1,
    )
    bayes = np.exp(logs[:, 1]) / np.exp(logs).sum(1)
    with torch.no_grad():
        found = model(torch.from_numpy(points)).softmax(1)[:, order[1]].numpy()
    assert np.abs(found - bayes).mean() < 0.01
