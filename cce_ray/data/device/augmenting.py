"""Disturb a batch of samples, each by its own draw, on the device where the batch lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from cce_ray.data.augmentation import AugmentationSettings
from cce_ray.data.device.keyed_random import keyed_uniforms

# One column of uniforms each, at fixed places: changing one strength leaves the other draws alone.
ROTATION, SCALE, SHIFT_X, SHIFT_Y, SHEAR, FLIP, AREA, ASPECT, CROP_X, CROP_Y = range(10)
BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAYSCALE, CUTOUT_X, CUTOUT_Y = range(10, 17)
GEOMETRY_DRAWS, ALL_DRAWS = 10, 17
NOISE_STREAM, DROPOUT_STREAM = 1, 2

_LUMA = (0.299, 0.587, 0.114)
_LARGEST_LOG_ASPECT = math.log(4 / 3)


def augment(
    inputs: Tensor,
    sample_ids: Tensor,
    *,
    settings: AugmentationSettings,
    seed: int,
    epoch: int,
    shift: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """A disturbed copy of each sample; with all strengths off, floats pass as the very same tensor.

    Args:
        inputs: (B, D) embeddings or (B, C, H, W) images, floats in [0, 1] or uint8.
        sample_ids: (B,) int64, any device; with ``seed`` and ``epoch`` they alone decide the draws.
        settings: resolved, that is without None (``AugmentationSettings.resolved``).
        shift, scale: the model's normalisation, (x - shift) * scale: for embeddings it gives ``noise`` its
            unit and ``dropout`` its value. Without it the unit is that of the data and the value 0.

    Returns:
        Floats (float32 in [0, 1] for uint8 images) of the shape and on the device of ``inputs``.
    """
    if inputs.dtype == torch.uint8:
        inputs = inputs.to(torch.float32) / 255
    sample_ids = sample_ids.to(inputs.device)
    if inputs.ndim == 2:
        disturbed = _drop_dimensions(inputs, sample_ids, settings, seed, epoch, shift)
    else:
        disturbed = _disturb_images(inputs, sample_ids, settings, seed, epoch)
        scale = None  # The noise of images is in intensities.
    return _add_noise(disturbed, sample_ids, settings, seed, epoch, scale)


def _disturb_images(
    images: Tensor, sample_ids: Tensor, settings: AugmentationSettings, seed: int, epoch: int
) -> Tensor:
    colours = _changes_colours(settings) or bool(settings.cutout)
    if not (colours or _moves(settings)):
        return images
    uniforms = keyed_uniforms(seed, epoch, sample_ids, ALL_DRAWS if colours else GEOMETRY_DRAWS)
    uniforms = uniforms.to(images.dtype)
    if _moves(settings):
        images = _move(images, _sampling_maps(uniforms, settings), settings.padding or "zeros")
    if _changes_colours(settings):
        images = _change_colours(images, uniforms, settings)
    return _cut_out(images, uniforms, settings.cutout) if settings.cutout else images


def _moves(settings: AugmentationSettings) -> bool:
    strengths = (settings.rotation, settings.scale, settings.shift, settings.shear, settings.flip)
    return any(strengths) or settings.crop not in (None, 1)


def _sampling_maps(uniforms: Tensor, settings: AugmentationSettings) -> Tensor:
    """(B, 2, 3): where each output pixel is read from, in half-widths. All geometry fused into one map."""
    both_ways = 2 * uniforms[:, :GEOMETRY_DRAWS] - 1
    angle = both_ways[:, ROTATION] * (settings.rotation or 0)
    size = 1 + both_ways[:, SCALE] * (settings.scale or 0)
    shear = both_ways[:, SHEAR] * (settings.shear or 0)
    cosine, sine = angle.cos() * size, angle.sin() * size
    # Rows of rotation-and-scale @ [[1, shear], [0, 1]].
    maps = torch.stack((cosine, cosine * shear - sine, sine, sine * shear + cosine), dim=1).view(-1, 2, 2)
    moves = both_ways[:, SHIFT_X : SHIFT_Y + 1] * (settings.shift or 0)
    if settings.flip:
        signs = torch.where(uniforms[:, FLIP] < settings.flip, -1.0, 1.0)
        maps, moves = _mirrored(maps, moves, signs)
    if settings.crop not in (None, 1):
        maps, moves = _cropped(maps, moves, uniforms, float(settings.crop or 1))
    return torch.cat((maps, moves.unsqueeze(2)), dim=2)


def _mirrored(maps: Tensor, moves: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    signs = torch.stack((signs, torch.ones_like(signs)), dim=1).to(maps.dtype)
    return maps * signs.unsqueeze(2), moves * signs


def _cropped(maps: Tensor, moves: Tensor, uniforms: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """Read from a window of random area, aspect and place that lies inside the image."""
    area = smallest + (1 - smallest) * uniforms[:, AREA]
    half_log_aspect = (uniforms[:, ASPECT] - 0.5) * _LARGEST_LOG_ASPECT
    sides = area.sqrt().unsqueeze(1) * torch.stack((half_log_aspect, -half_log_aspect), dim=1).exp()
    sides = sides.clamp(max=1)
    places = (2 * uniforms[:, CROP_X : CROP_Y + 1] - 1) * (1 - sides)
    return maps * sides.unsqueeze(2), moves * sides + places


def _move(images: Tensor, maps: Tensor, padding: str) -> Tensor:
    """Bilinear samples at ``maps`` of each output pixel's place.

    The places come from one broadcast product, three times as fast as torch's affine_grid on the CPU, and
    free of the reduced precision that matrix products may have under autocast or TF32.
    """
    height, width = images.shape[2:]
    rows, columns = (
        (2 * torch.arange(side, device=maps.device, dtype=maps.dtype) + 1) / side - 1
        for side in (height, width)
    )
    starts = maps[:, :, 1:2] * rows + maps[:, :, 2:]
    planes = torch.addcmul(starts.unsqueeze(3), maps[:, :, 0, None, None], columns)
    grid = planes.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _changes_colours(settings: AugmentationSettings) -> bool:
    strengths = (
        settings.brightness,
        settings.contrast,
        settings.saturation,
        settings.hue,
        settings.grayscale,
    )
    return any(strengths)


def _change_colours(images: Tensor, uniforms: Tensor, settings: AugmentationSettings) -> Tensor:
    """Brightness, contrast, saturation, hue and loss of colour as one C x C matrix and offset per image."""
    both_ways = 2 * uniforms - 1
    brightness = 1 + both_ways[:, BRIGHTNESS] * (settings.brightness or 0)
    contrast = 1 + both_ways[:, CONTRAST] * (settings.contrast or 0)
    gain = (brightness * contrast).view(-1, 1, 1, 1)
    means = images.mean(dim=(1, 2, 3), keepdim=True) * (brightness * (1 - contrast)).view(-1, 1, 1, 1)
    if images.shape[1] == 3 and any((settings.saturation, settings.hue, settings.grayscale)):
        matrices = _colour_matrices(uniforms, settings)
        images = torch.bmm(matrices, images.flatten(start_dim=2)).view(images.shape)
    return (images * gain).add_(means).clamp_(0, 1)


def _colour_matrices(uniforms: Tensor, settings: AugmentationSettings) -> Tensor:
    """(B, 3, 3): hue turned about the grey axis, then blended with the luminance."""
    identity = torch.eye(3, dtype=uniforms.dtype, device=uniforms.device)
    luma = torch.tensor(_LUMA, dtype=uniforms.dtype, device=uniforms.device).expand(3, 3)
    angle = (2 * uniforms[:, HUE] - 1) * (2 * math.pi * (settings.hue or 0))
    # Rodrigues about (1, 1, 1)/sqrt 3: keeps grey grey, needs no conversion to another colour space.
    third, root = 1 / 3, math.sqrt(1 / 3)
    cross = torch.tensor(
        [[0.0, -root, root], [root, 0.0, -root], [-root, root, 0.0]],
        dtype=uniforms.dtype,
        device=uniforms.device,
    )
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    hue = cosine * identity + (1 - cosine) * third + sine * cross
    saturation = 1 + (2 * uniforms[:, SATURATION] - 1) * (settings.saturation or 0)
    saturation = torch.where(uniforms[:, GRAYSCALE] < (settings.grayscale or 0), 0.0, saturation)
    saturation = saturation.view(-1, 1, 1)
    return (saturation * identity + (1 - saturation) * luma) @ hue


def _cut_out(images: Tensor, uniforms: Tensor, share: float) -> Tensor:
    height, width = images.shape[-2:]
    half = share * min(height, width) / 2
    rows = torch.arange(height, device=images.device, dtype=images.dtype) + 0.5
    columns = torch.arange(width, device=images.device, dtype=images.dtype) + 0.5
    inside_rows = (rows - uniforms[:, CUTOUT_Y, None] * height).abs() < half
    inside_columns = (columns - uniforms[:, CUTOUT_X, None] * width).abs() < half
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)


def _drop_dimensions(
    inputs: Tensor,
    sample_ids: Tensor,
    settings: AugmentationSettings,
    seed: int,
    epoch: int,
    shift: Tensor | None,
) -> Tensor:
    if not settings.dropout:
        return inputs
    uniforms = keyed_uniforms(seed, epoch, sample_ids, inputs.shape[1], stream=DROPOUT_STREAM)
    mean = torch.zeros((), dtype=inputs.dtype, device=inputs.device) if shift is None else shift.to(inputs)
    return torch.where(uniforms < settings.dropout, mean, inputs)


def _add_noise(
    inputs: Tensor,
    sample_ids: Tensor,
    settings: AugmentationSettings,
    seed: int,
    epoch: int,
    scale: Tensor | None,
) -> Tensor:
    if not settings.noise:
        return inputs
    draws = math.prod(inputs.shape[1:])
    uniforms = keyed_uniforms(seed, epoch, sample_ids, draws, stream=NOISE_STREAM).view(inputs.shape)
    # The quantile function of the normal; half a step keeps the argument off ±1, where it is infinite.
    normals = torch.erfinv(2 * uniforms - (1 - 2.0**-24)).mul_(math.sqrt(2) * settings.noise)
    if scale is not None:
        scale = scale.to(inputs)
        normals = torch.where(scale > 0, normals / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0.0)
    return inputs + normals.to(inputs.dtype)
