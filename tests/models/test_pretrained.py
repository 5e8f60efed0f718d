"""torchvision's networks as feature extractors: against a run by hand, and files that do not fit."""

import copy
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision.transforms.v2 import functional as transforms

from cce_ray.data.storage.image_files import Decoder
from cce_ray.models.pretrained import Pretrained, backbone_names, load_pretrained
from cce_ray.models.weight_files import load_weights, read_weights

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """ResNet-18 with weights of its own, and statistics that are not those of a fresh network."""
    torch.manual_seed(1)
    network = models.resnet18(weights=None)
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def resnet_file(resnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet.state_dict(), path)
    return path


def features(module: Pretrained, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return module(images)


def test_features_are_those_of_torchvisions_network_before_its_classifier(
    resnet: nn.Module, resnet_file: Path
) -> None:
    module, origin = load_pretrained("resnet18", str(resnet_file), image_size=64)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    by_hand = copy.deepcopy(resnet)
    by_hand.fc = nn.Identity()
    with torch.inference_mode():
        expected = by_hand(transforms.normalize(images / 255, MEAN, STD))
    assert module.num_features == 512
    assert origin.startswith("resnet18.pth sha256:")
    torch.testing.assert_close(features(module, images), expected)


def test_grey_images_of_another_size_are_seen_as_pillow_resizes_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(64, 192, (40, 61), np.uint8)  # nothing overshoots
    Image.fromarray(pixels).save(tmp_path / "image.png")
    module, _ = load_pretrained("resnet18", "random", image_size=32)
    seen = module.fitted(torch.from_numpy(pixels)[None, None])
    decoded = Decoder("rgb", 32)(tmp_path / "image.png") / 255
    assert seen.shape == (1, 3, 32, 32)
    assert np.abs(seen[0].numpy() - decoded).max() < 1.6 / 255


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, origin = load_pretrained("resnet18", "random", image_size=32)
    assert torch.equal(torch.rand(3), expected)
    second, _ = load_pretrained("resnet18", "random", image_size=32)
    images = torch.rand(2, 1, 32, 32)
    assert origin == "random"
    assert torch.equal(features(first, images), features(second, images))


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("mobilenet_v3_small", 1024), ("efficientnet_b0", 1280), ("convnext_tiny", 768)),
        *(("squeezenet1_1", 512), ("shufflenet_v2_x0_5", 1024), ("regnet_y_400mf", 440)),
        *(("googlenet", 1024), ("densenet121", 1024), ("mnasnet0_5", 1280), ("vit_b_32", 768)),
    ],
)
def test_every_family_loses_its_last_layer_only(name: str, width: int, tmp_path: Path) -> None:
    module, _ = load_pretrained(name, "random", image_size=64)
    assert module.num_features == width
    extra = {"init_weights": False} if name == "googlenet" else {}
    extra |= {"image_size": 64} if name == "vit_b_32" else {}
    torch.save(models.get_model(name, weights=None, **extra).state_dict(), tmp_path / "whole.pth")
    load_pretrained(name, str(tmp_path / "whole.pth"), image_size=64)  # a whole network's file fits


def test_all_networks_have_a_size_and_a_normalisation() -> None:
    assert {"resnet50", "wide_resnet50_2", "resnext50_32x4d", "swin_t", "vgg16"} <= set(backbone_names())
    for name in backbone_names():
        usual = models.get_model_weights(name).DEFAULT.transforms()
        assert usual.crop_size[0] >= 224 and len(usual.mean) == len(usual.std) == 3


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_checkpoints_are_unwrapped_and_their_classifier_is_ignored(
    wrapper: str | None, resnet: nn.Module, resnet_file: Path, tmp_path: Path
) -> None:
    state: dict[str, Any] = {f"module.{key}": value for key, value in resnet.state_dict().items()}
    state["module.fc.weight"], state["module.fc.bias"] = torch.zeros(7, 512), torch.zeros(7)
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "checkpoint.pt")
    module, _ = load_pretrained("resnet18", str(tmp_path / "checkpoint.pt"), image_size=32)
    expected, _ = load_pretrained("resnet18", str(resnet_file), image_size=32)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(features(module, images), features(expected, images))


def test_files_with_the_names_of_older_torchvisions_are_understood(tmp_path: Path) -> None:
    network = models.densenet121(weights=None)
    state = network.state_dict()
    old = OrderedDict(
        (key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in key else key, value)
        for key, value in state.items()
        if "num_batches_tracked" not in key
    )
    assert len(set(old) - set(state)) > 100
    torch.save(old, tmp_path / "densenet.pth")
    module, _ = load_pretrained("densenet121", str(tmp_path / "densenet.pth"), image_size=32)
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(module.network.state_dict()[key], state[key])


def refusal(*arguments: Any) -> str:
    with pytest.raises(ValueError) as caught:
        load_pretrained(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_of_another_network_are_refused_by_tensor(resnet: nn.Module, tmp_path: Path) -> None:
    path = str(tmp_path / "other.pth")
    state = resnet.state_dict()
    torch.save(state | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, path)
    told = refusal("resnet18", path, 32)
    assert "layer1.0.conv1.weight is (64, 64, 1, 1) there, (64, 64, 3, 3) in resnet18; give" in told
    torch.save({key: value for key, value in state.items() if key != "conv1.weight"}, path)
    assert "conv1.weight (64, 3, 7, 7) is missing there" in refusal("resnet18", path, 32)
    # A deeper network has all tensors of a shallower one, in the same shapes.
    torch.save(state | {"layer3.2.conv1.weight": torch.zeros(256, 256, 3, 3)}, path)
    assert "layer3.2.conv1.weight (256, 256, 3, 3) has no place in resnet18" in refusal("resnet18", path, 32)


def test_positions_of_another_image_size_ask_for_that_size(tmp_path: Path) -> None:
    torch.save({"encoder.pos_embedding": torch.zeros(1, 5, 768)}, tmp_path / "vit.pth")
    told = refusal("vit_b_32", str(tmp_path / "vit.pth"), 96)
    assert "encoder.pos_embedding is (1, 5, 768) there, (1, 10, 768)" in told
    assert told.endswith("give the --image-size that the weights were trained with")


def test_bad_names_sizes_and_files_are_one_line_with_a_remedy(tmp_path: Path, resnet: nn.Module) -> None:
    assert "did you mean resnet50" in refusal("ResNet-50")
    assert "use e.g. resnet50" in refusal("clip")
    assert "--image-size: vit_b_32 takes no images of 50x50" in refusal("vit_b_32", "random", 50)
    assert "'nowhere.pth' is not a file" in refusal("resnet18", "nowhere.pth")
    path = tmp_path / "file.pth"
    path.write_bytes(os.urandom(1000))
    assert "is damaged, or holds more than tensors" in refusal("resnet18", str(path))
    torch.save(resnet, path)  # a pickle of the network, which could run anything
    assert "save the network's state_dict()" in refusal("resnet18", str(path))
    torch.save({"state_dict": {"epoch": 3}}, path)
    assert "holds no tensors by name" in refusal("resnet18", str(path))
    torch.save({"format": "cce_ray.model", "state": {}}, path)
    assert f"give it as --backbone '{path}'" in refusal("resnet18", str(path))
    torch.save([torch.zeros(3)], path)
    assert "holds no tensors by name" in refusal("resnet18", str(path))


def test_a_failed_download_says_to_give_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    told = refusal("resnet18")
    assert "could not be fetched" in told and "give --weights FILE" in told


def test_downloaded_weights_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnet: nn.Module
) -> None:
    def fetch(url: str, **_: object) -> None:
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        torch.save(resnet.state_dict(), folder / url.rpartition("/")[2])

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    for _ in range(2):  # the second time from the cache: fetching would fail, the folder is there
        module, origin = load_pretrained("resnet18")
        assert origin.startswith("resnet18-f37072fd.pth sha256:") and module.image_size == 224
        assert torch.equal(module.network.state_dict()["conv1.weight"], resnet.state_dict()["conv1.weight"])


def test_half_precision_weights_become_float32(tmp_path: Path, resnet: nn.Module) -> None:
    torch.save({key: value.half() for key, value in resnet.state_dict().items()}, tmp_path / "half.pth")
    network = models.resnet18(weights=None)
    network.fc = nn.Identity()
    state = read_weights(tmp_path / "half.pth")
    load_weights(network, state, name="resnet18", head="fc", path=tmp_path / "half.pth")
    assert network.conv1.weight.dtype == torch.float32
