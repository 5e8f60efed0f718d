"""Known answers of each architecture."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from cce_ray.models import MODELS
from cce_ray.models.centroids import Centroids
from cce_ray.models.classifier import CentroidHead
from cce_ray.models.cnn import CNN
from cce_ray.models.linear import Linear
from cce_ray.models.mlp import MLP
from cce_ray.models.resnet18 import ResNet18
from cce_ray.models.vgg4 import VGG4, nearest_form


def parameters(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def test_linear_starts_as_in_the_paper() -> None:
    torch.manual_seed(0)
    head = Linear().build((3, 8, 8), 500).head
    assert isinstance(head, nn.Linear)
    assert bool((head.bias == 0).all())
    assert float(head.weight.detach().std()) == pytest.approx((2 / 192) ** 0.5, rel=0.01)
    model = Linear().build((4,), 2).eval()
    assert isinstance(model.head, nn.Linear)
    inputs = torch.rand(3, 4)
    assert torch.allclose(model(inputs), inputs @ model.head.weight.T)


# Table 8: form, convolutions (5x5, batch norm), and the inputs of the linear layer.
TABLE_8 = {
    (1, 28, 28): ((64, 128, 256, 512), (1, 1), 512 * 3 * 3),
    (3, 32, 32): ((32, 64, 128, 256), (1, 1), 256 * 4 * 4),
    (3, 96, 96): ((128, 256, 512, 1024), (2, 2), 1024 * 1 * 1),
}


@pytest.mark.parametrize("shape", TABLE_8)
def test_vgg4_is_table_8(shape: tuple[int, int, int]) -> None:
    widths, stride, features = TABLE_8[shape]
    model = VGG4().build(shape, 10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert tuple(module.out_channels for module in convolutions) == widths
    for module in convolutions:
        assert (module.kernel_size, module.stride, module.padding) == ((5, 5), stride, (2, 2))
    assert isinstance(model.head, nn.Linear) and model.head.in_features == features
    kinds = [type(module).__name__ for module in model.backbone.children()]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [*[*block, "MaxPool2d"] * 3, *block, "Flatten"]


@pytest.mark.parametrize(
    ("shape", "form"),
    [
        ((1, 28, 28), 28),
        ((3, 28, 28), 28),
        ((1, 32, 32), 32),
        ((1, 30, 30), 28),
        ((3, 30, 30), 32),
        ((1, 8, 8), 28),
        ((3, 64, 64), 32),
        ((3, 65, 65), 96),
        ((3, 224, 224), 96),
        ((3, 32, 200), 32),
    ],
)
def test_other_sizes_take_the_nearest_form(shape: tuple[int, int, int], form: int) -> None:
    assert nearest_form(shape) == form


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 65, 65), (3, 40, 57), (3, 64, 66)])
def test_vgg4_sizes_its_head_by_what_comes_out(shape: tuple[int, int, int]) -> None:
    assert VGG4().build(shape, 3)(torch.rand(2, *shape)).shape == (2, 3)


def test_cnn_has_the_widths_and_poolings_it_is_told() -> None:
    digits = CNN().build((1, 8, 8), 10)
    assert isinstance(digits.head, nn.Linear) and digits.head.in_features == 128 * 2 * 2
    averaged = CNN(widths=(4, 6), pooling="average").build((2, 9, 5), 10)
    assert isinstance(averaged.head, nn.Linear) and averaged.head.in_features == 6
    assert parameters(averaged.backbone) == 9 * 2 * 4 + 2 * 4 + 9 * 4 * 6 + 2 * 6
    averaged.eval()
    assert averaged(torch.rand(2, 2, 9, 5)).shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "side", "small"),
    [
        ({}, 32, True),
        ({}, 64, True),
        ({}, 65, False),
        ({"stem": "standard"}, 32, False),
        ({"stem": "small"}, 96, True),
    ],
)
def test_resnet18_has_the_stem_for_its_images(settings: dict[str, str], side: int, small: bool) -> None:
    model = ResNet18(**settings).build((3, side, side), 10)  # type: ignore[arg-type]
    before_pooling = model.backbone.maxpool(model.backbone.conv1(torch.rand(1, 3, side, side)))  # type: ignore[operator]
    assert before_pooling.shape[-1] == (side if small else -(-side // 4))
    # The published 11,689,512 of ImageNet's ResNet-18, without its last layer and with our stem.
    stem = 3 * 64 * (9 if small else 49)
    assert parameters(model.backbone) == 11_689_512 - 513_000 - 3 * 64 * 49 + stem


def test_mlp_widths_and_batch_norm() -> None:
    model = MLP(hidden=(5, 6)).build((4,), 3)
    assert parameters(model) == (4 * 5 + 10) + (5 * 6 + 12) + (6 * 3 + 3)
    plain = MLP(hidden=(5,), batch_norm=False).build((4,), 3)
    assert parameters(plain) == (4 * 5 + 5) + (5 * 3 + 3)
    assert bool((plain(torch.rand(1, 4)).isfinite()).all()), "one sample suffices without batch norm"


def test_centroids_are_squared_distances_also_far_from_the_origin() -> None:
    random = np.random.default_rng(0)
    for distance in (0.0, 1e3):
        points = (random.normal(size=(50, 6)) + distance).astype(np.float32)
        centers = (random.normal(size=(4, 6)) + distance).astype(np.float32)
        model = Centroids(inverse_temperature=0.5).build((6,), 4)
        assert isinstance(model.head, CentroidHead)
        model.head.centers.data = torch.from_numpy(centers)
        exact = -0.5 * np.square(points.astype(np.float64)[:, None] - centers[None]).sum(axis=2)
        assert np.allclose(model(torch.from_numpy(points)).detach().numpy(), exact, rtol=1e-3, atol=1e-3)
        assert float(model(torch.from_numpy(centers)).detach().diagonal().abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cnn", {"widths": ()}),
        ("cnn", {"widths": (0,)}),
        ("cnn", {"pooling": "max"}),
        ("mlp", {"hidden": ()}),
        ("centroids", {"inverse_temperature": 0}),
        ("resnet18", {"stem": "large"}),
        ("linear", {"bias": True}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MODELS[name](**settings)
