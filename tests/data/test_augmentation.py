"""Each disturbance does what its setting says, to each sample by itself."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from cce_ray.data import DATASETS, augment
from cce_ray.data.augmentation import NONE, PHOTOS, AugmentationSettings

IDS = torch.arange(64)


def only(**strengths: object) -> AugmentationSettings:
    return AugmentationSettings(**strengths).resolved(NONE)  # type: ignore[arg-type]


def photos(count: int = 64, channels: int = 3, side: int = 12) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def run(
    inputs: torch.Tensor, settings: AugmentationSettings, epoch: int = 0, **more: torch.Tensor
) -> torch.Tensor:
    return augment(inputs, IDS[: len(inputs)], settings=settings, seed=5, epoch=epoch, **more)


EVERYTHING = only(
    rotation=0.3,
    scale=0.2,
    shift=0.2,
    shear=0.2,
    flip=0.5,
    crop=0.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    grayscale=0.3,
    cutout=0.3,
    noise=0.05,
)


def test_all_off_returns_the_very_tensor() -> None:
    inputs = photos()
    assert run(inputs, NONE) is inputs
    assert run(torch.ones(4, 7), NONE).equal(torch.ones(4, 7))


def test_uint8_images_come_back_as_floats_in_the_unit_interval() -> None:
    images = (photos() * 255).to(torch.uint8)
    assert torch.equal(run(images, EVERYTHING), run(images.float() / 255, EVERYTHING))


def test_a_sample_is_disturbed_alike_in_every_batch_and_otherwise_in_every_epoch() -> None:
    inputs = photos()
    whole = run(inputs, EVERYTHING)
    part = augment(inputs[10:13], IDS[10:13], settings=EVERYTHING, seed=5, epoch=0)
    assert torch.allclose(whole[10:13], part, atol=1e-6)
    assert torch.equal(whole, run(inputs, EVERYTHING))
    assert not torch.allclose(whole, run(inputs, EVERYTHING, epoch=1), atol=1e-2)
    same_image = inputs[:1].expand(64, -1, -1, -1)
    assert not torch.allclose(run(same_image, EVERYTHING)[0], run(same_image, EVERYTHING)[1], atol=1e-2)


def test_flip_mirrors_with_its_probability() -> None:
    inputs = photos()
    assert torch.allclose(run(inputs, only(flip=1)), inputs.flip(3), atol=1e-5)
    half = run(inputs, only(flip=0.5))
    flipped = (half - inputs.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    kept = (half - inputs).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert bool((flipped ^ kept).all()) and 16 < int(flipped.sum()) < 48


def test_a_strength_leaves_the_other_draws_alone() -> None:
    inputs = photos()
    flipped = (run(inputs, only(flip=0.5)) - inputs.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    dimmed = run(inputs, only(flip=0.5, brightness=1e-3))
    still = (dimmed - inputs.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-2
    assert torch.equal(flipped, still)


def moments(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre of mass (B, 2), x before y in half-widths, and the second moments (B, 2, 2) about it."""
    side = images.shape[-1]
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    places = torch.stack((x, y))
    weights = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
    centre = torch.einsum("bij,kij->bk", weights, places)
    second = torch.einsum("bij,kij,lij->bkl", weights, places, places)
    return centre, second - centre[:, :, None] * centre[:, None, :]


def blobs(horizontal: float, vertical: float) -> torch.Tensor:
    axis = (torch.arange(32) + 0.5) / 16 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    blob = torch.exp(-(x**2) / (2 * horizontal**2) - y**2 / (2 * vertical**2))
    return blob.expand(64, 1, 32, 32)


def test_shift_moves_along_both_axes_up_to_its_share_of_the_half_width() -> None:
    centre, _ = moments(run(blobs(0.1, 0.1), only(shift=0.4)))
    assert float(centre.abs().max()) < 0.41
    assert bool((centre.abs().amax(dim=0) > 0.3).all())
    assert abs(float(torch.corrcoef(centre.T)[0, 1])) < 0.5


def test_rotation_turns_up_to_its_angle_and_changes_no_size() -> None:
    _, second = moments(run(blobs(0.25, 0.08), only(rotation=0.5)))
    angles = 0.5 * torch.atan2(2 * second[:, 0, 1], second[:, 0, 0] - second[:, 1, 1])
    assert float(angles.abs().max()) < 0.51 and float(angles.max()) > 0.4 and float(angles.min()) < -0.4
    areas = torch.linalg.det(second).sqrt()
    assert torch.allclose(
        areas, torch.full_like(areas, 0.25 * 0.08), rtol=0.1
    )  # Interpolation blurs a little.


def test_scale_changes_size_alone() -> None:
    _, second = moments(run(blobs(0.15, 0.15), only(scale=0.3)))
    sizes = torch.linalg.det(second) ** 0.25 / 0.15
    assert float(sizes.max()) < 1 / 0.69 and float(sizes.min()) > 1 / 1.31
    assert float(sizes.max()) > 1.2 and float(sizes.min()) < 0.85
    assert torch.allclose(second[:, 0, 0], second[:, 1, 1], rtol=0.02)


def test_shear_slants_horizontally() -> None:
    _, second = moments(run(blobs(0.15, 0.15), only(shear=0.4)))
    slants = second[:, 0, 1] / second[:, 1, 1]
    assert 0.3 < float(slants.abs().max()) < 0.41
    assert torch.allclose(second[:, 1, 1], torch.full((64,), 0.15**2), rtol=0.05)


def test_crops_lie_inside_the_image_and_keep_their_share_of_the_area() -> None:
    ones = torch.ones(64, 1, 32, 32)
    # Outside the image lie zeros: they would show.
    assert float(run(ones, only(crop=0.3, padding="zeros"))[:, :, 1:-1, 1:-1].min()) > 0.999
    axis = (torch.arange(32) + 0.5) / 16 - 1
    ramps = torch.stack([axis.expand(32, 32), axis[:, None].expand(32, 32)]).expand(64, 2, 32, 32)
    cropped = run(ramps, only(crop=0.3, padding="border"))
    widths = (cropped[:, 0, 16, 20] - cropped[:, 0, 16, 12]) / 0.5
    heights = (cropped[:, 1, 20, 16] - cropped[:, 1, 12, 16]) / 0.5
    areas = widths * heights
    assert 0.25 < float(areas.min()) < 0.45 and 0.8 < float(areas.max()) <= 1.001
    assert 0.74 < float((widths / heights).min()) < 0.9 and 1.1 < float((widths / heights).max()) < 1.34


def test_flip_mirrors_crops_and_turned_images_alike() -> None:
    inputs = photos()
    geometry = {"rotation": 0.3, "shift": 0.2, "shear": 0.2, "crop": 0.5}
    # Sampling through a mirrored map is sampling the mirrored image at the same draw.
    mirrored_map = run(inputs.flip(3), only(**geometry))
    first = run(inputs, only(flip=1, rotation=0.3, shift=0.2, shear=0.2))
    second = run(inputs.flip(3), only(rotation=0.3, shift=0.2, shear=0.2))
    assert torch.allclose(first, second, atol=1e-4)
    assert mirrored_map.shape == inputs.shape


def test_brightness_and_contrast_are_affine_and_stay_in_range() -> None:
    inputs = 0.25 + photos() / 4
    bright = run(inputs, only(brightness=0.4))
    factors = (bright / inputs).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), atol=1e-5)
    assert 0.6 <= float(factors.min()) < 0.7 and 1.3 < float(factors.max()) <= 1.4
    contrasted = run(inputs, only(contrast=0.4))
    assert torch.allclose(contrasted.mean(dim=(1, 2, 3)), inputs.mean(dim=(1, 2, 3)), atol=1e-5)
    spreads = contrasted.flatten(1).std(dim=1) / inputs.flatten(1).std(dim=1)
    assert 0.6 <= float(spreads.min()) < 0.7 and 1.3 < float(spreads.max()) <= 1.4
    assert float(run(photos(), only(brightness=1)).max()) <= 1


def test_hue_and_saturation_leave_grey_grey_and_change_colours() -> None:
    grey = photos(channels=1).expand(-1, 3, -1, -1)
    settings = only(hue=0.5, saturation=1)
    assert torch.allclose(run(grey, settings), grey, atol=1e-5)
    colours = 0.4 + photos() / 5
    turned = run(colours, only(hue=0.5))
    assert torch.allclose(turned.mean(dim=1), colours.mean(dim=1), atol=1e-5)
    assert not torch.allclose(turned, colours, atol=0.02)


def test_grayscale_takes_all_colour_with_its_probability() -> None:
    def colourless(images: torch.Tensor) -> torch.Tensor:
        return (images - images.mean(dim=1, keepdim=True)).abs().amax(dim=(1, 2, 3)) < 1e-5

    luma = (photos() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    assert torch.allclose(run(photos(), only(grayscale=1)), luma.expand(-1, 3, -1, -1), atol=1e-5)
    assert 16 < int(colourless(run(photos(), only(grayscale=0.5))).sum()) < 48
    grey = photos(channels=1)
    assert torch.equal(run(grey, only(grayscale=1, hue=0.5, saturation=1)), grey)


def test_cutout_overwrites_a_square_by_the_mean() -> None:
    inputs = photos(side=20)
    cut = run(inputs, only(cutout=0.5))
    changed = (cut != inputs).any(dim=1)
    counts = changed.flatten(1).sum(dim=1)
    assert int(counts.max()) <= 121 and int(counts.max()) >= 81 and int(counts.min()) >= 16
    row, column = [int(place) for place in changed[0].nonzero()[0]]
    assert torch.allclose(cut[0, :, row, column], inputs[0].mean(dim=(1, 2)))


def test_noise_is_normal_with_its_deviation() -> None:
    drawn = (run(torch.zeros(64, 1, 16, 16), only(noise=0.2)) / 0.2).flatten().numpy()
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3


def test_noise_on_embeddings_is_measured_as_the_model_sees_them() -> None:
    inputs, scale = torch.zeros(64, 500), torch.full((500,), 4.0)
    scale[0] = 0
    drawn = run(inputs, only(noise=0.3), shift=torch.zeros(500), scale=scale) * scale
    assert math.isclose(float(drawn[:, 1:].std()), 0.3, rel_tol=0.02)
    assert bool((run(inputs, only(noise=0.3), shift=torch.zeros(500), scale=scale)[:, 0] == 0).all())


def test_dropout_sets_its_share_of_dimensions_to_their_mean() -> None:
    shift = torch.linspace(5, 6, 500)
    dropped = run(torch.zeros(64, 500), only(dropout=0.3), shift=shift, scale=torch.ones(500))
    hit = dropped != 0
    assert abs(float(hit.float().mean()) - 0.3) < 0.01
    assert torch.equal(dropped[hit], shift.expand(64, -1)[hit])


def test_resolved_fills_from_the_preset_and_then_from_off() -> None:
    resolved = AugmentationSettings(rotation=0.1).resolved(AugmentationSettings(rotation=0.9, flip=0.5))
    assert (resolved.rotation, resolved.flip, resolved.crop, resolved.padding) == (0.1, 0.5, 1, "zeros")
    assert AugmentationSettings(flip=0).resolved(PHOTOS).flip == 0
    assert resolved.resolved(PHOTOS) == resolved


@pytest.mark.parametrize(
    "field", [{"flip": 1.1}, {"crop": 0}, {"noise": -1}, {"hue": 0.6}, {"padding": "x"}, {"zoom": 1}]
)
def test_strengths_out_of_range_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentationSettings(**field)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DATASETS)
def test_presets_are_complete_and_suit_their_data(name: str) -> None:
    preset = DATASETS[name].augmentation_preset
    assert None not in preset.model_dump().values()
    if name in ("digits", "mnist"):
        assert preset.flip == 0, "a mirrored digit is another sign"
    inputs = torch.rand(4, 3, 16, 16)
    disturbed = augment(inputs, IDS[:4], settings=preset, seed=0, epoch=0)
    assert disturbed.shape == inputs.shape and bool(torch.isfinite(disturbed).all())
    assert not torch.equal(disturbed, inputs)
    embeddings = torch.rand(4, 9)
    assert augment(embeddings, IDS[:4], settings=preset, seed=0, epoch=0) is embeddings


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_geometry_agrees_with_torchs_own_affine_grid(padding: str) -> None:
    from cce_ray.data.device.augmenting import _move

    images = torch.rand(5, 2, 9, 14, generator=torch.Generator().manual_seed(0))
    maps = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))
    grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)
    assert torch.allclose(_move(images, maps, padding), expected, atol=1e-4)
