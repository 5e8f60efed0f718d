"""What every model keeps: shapes, normalisation, files; and that reading a configuration stays fast."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cce_ray.models import MODELS, Classifier, load_classifier, save_classifier, to_float
from cce_ray.models.model_settings import ModelSettings

IMAGE, EMBEDDING = (3, 16, 16), (20,)
TAKES_EMBEDDINGS = ("linear", "mlp", "centroids", "gaussians")


def build(name: str, shape: tuple[int, ...] = IMAGE, num_clusters: int = 7, **more: Any) -> Classifier:
    torch.manual_seed(0)
    return MODELS[name]().build(shape, num_clusters, **more)


@pytest.mark.parametrize("name", MODELS)
def test_logits_have_their_shape_and_every_parameter_a_gradient(name: str) -> None:
    model = build(name)
    logits = model(torch.rand(5, *IMAGE))
    assert logits.shape == (5, 7) and logits.dtype == torch.float32
    (-torch.log_softmax(logits, dim=1)[:, 0].mean()).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None and bool(torch.isfinite(value.grad).all()), parameter
    assert {parameter.split(".")[0] for parameter, _ in model.named_parameters()} <= {"backbone", "head"}


@pytest.mark.parametrize("name", MODELS)
def test_the_name_is_the_key_and_every_setting_is_documented(name: str) -> None:
    fields = MODELS[name].model_fields
    assert fields["name"].default == name
    assert not [field for field, info in fields.items() if field != "name" and not info.description]


@pytest.mark.parametrize("name", MODELS)
def test_bytes_count_as_intensities_in_the_unit_interval(name: str) -> None:
    model = build(name).eval()
    images = torch.randint(0, 256, (4, *IMAGE), dtype=torch.uint8)
    assert torch.equal(model(images), model(images.float() / 255))


def test_other_numbers_become_float32_with_their_values() -> None:
    assert to_float(torch.tensor([1, 300])).tolist() == [1.0, 300.0]
    assert to_float(torch.ones(2, dtype=torch.float64)).dtype == torch.float32
    kept = torch.ones(2)
    assert to_float(kept) is kept


@pytest.mark.parametrize("name", MODELS)
def test_normalisation_stands_in_front(name: str) -> None:
    shift, scale = np.full((3, 1, 1), 0.5, np.float32), np.array([[[1.0]], [[2]], [[0]]], np.float32)
    plain, normalising = build(name).eval(), build(name, shift=shift, scale=scale).eval()
    inputs = torch.rand(4, *IMAGE)
    by_hand = (inputs - torch.from_numpy(shift)) * torch.from_numpy(scale)
    assert torch.allclose(normalising(inputs), plain(by_hand), atol=1e-5)
    assert torch.allclose(normalising.normalize(inputs), by_hand)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_its_file_to_the_bit(name: str, tmp_path: Path) -> None:
    model = build(name, shift=np.full((3, 1, 1), 0.3), scale=np.full((3, 1, 1), 4.0))
    model(torch.rand(8, *IMAGE))  # Batch norm now has statistics of its own.
    save_classifier(
        tmp_path / "m.pt", model, settings=MODELS[name](), metadata={"classes": ["a", "b"], "score": 0.5}
    )
    loaded, metadata = load_classifier(tmp_path / "m.pt")
    inputs = torch.rand(4, *IMAGE)
    assert not loaded.training and metadata == {"classes": ["a", "b"], "score": 0.5}
    assert torch.equal(loaded(inputs), model.eval()(inputs))
    assert (loaded.input_shape, loaded.num_clusters) == (IMAGE, 7)
    assert list(loaded.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_are_taken_or_refused_in_one_line(name: str) -> None:
    if name in TAKES_EMBEDDINGS:
        assert build(name, EMBEDDING)(torch.rand(4, 20)).shape == (4, 7)
        return
    with pytest.raises(ValueError, match=rf"^model\.name: '{name}' takes images .*; use 'linear' or 'mlp'"):
        build(name, EMBEDDING)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in TAKES_EMBEDDINGS])
def test_images_that_are_too_small_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^model\.name: '{name}' needs images of at least \d pixels"):
        build(name, (1, 3, 20))


@pytest.mark.parametrize("name", MODELS)
def test_building_is_a_function_of_the_seed_and_leaves_training_mode_on(name: str) -> None:
    one, same = build(name), build(name)
    assert one.training and all(module.training for module in one.modules())
    for left, right in zip(one.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_models_are_abstract_or_final() -> None:
    with pytest.raises(TypeError):
        ModelSettings()  # type: ignore[abstract]
    for kind in MODELS.values():
        assert getattr(kind, "__final__", False)


def test_settings_are_read_without_torch() -> None:
    code = (
        "import sys; from cce_ray.models import MODELS; from cce_ray.data import DATASETS; "
        "MODELS['vgg4'](), DATASETS['digits'](); "
        "heavy = ('torch', 'torchvision', 'sklearn', 'pyarrow', 'PIL'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
