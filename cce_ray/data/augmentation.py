"""How strongly samples are disturbed, and the strengths usual for each kind of data."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from cce_ray.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]


class AugmentationSettings(Settings):
    """Strengths of the random disturbances; None takes the data set's own.

    ``augment`` applies them, one draw per sample and epoch, in the order of the fields. Those on geometry and
    colour act on images, ``dropout`` on embeddings, ``noise`` on both.
    """

    rotation: Annotated[float, Field(ge=0, le=math.pi)] | None = None
    """Largest rotation either way, radians."""
    scale: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest relative change of size."""
    shift: Strength | None = None
    """Largest shift along each axis, in half-widths of the image."""
    shear: Strength | None = None
    """Largest horizontal shear factor."""
    flip: Share | None = None
    """Probability of a horizontal mirror image."""
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Smallest area share of a random crop that is resized to the image (aspect 3:4 to 4:3); 1 is off."""
    padding: Literal["zeros", "border", "reflection"] | None = None
    """What lies outside the image when geometry moves it in."""
    brightness: Share | None = None
    """Largest relative change of brightness."""
    contrast: Share | None = None
    """Largest relative change of contrast about the image's mean."""
    saturation: Share | None = None
    """Largest relative change of saturation (colour images)."""
    hue: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Largest rotation of the hue, in turns (colour images)."""
    grayscale: Share | None = None
    """Probability of losing all colour (colour images)."""
    cutout: Share | None = None
    """Side of a square that is overwritten by the image's mean, as a share of the image's shorter side."""
    noise: Strength | None = None
    """Standard deviation of Gaussian noise: of intensities in [0, 1], or of normalised embeddings."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of an embedding's dimensions that are set to their mean."""

    def changes(self, kind: Literal["images", "embeddings"]) -> bool:
        """Whether any strength disturbs such samples; all must be resolved."""
        fields = set(type(self).model_fields) - {"padding"}
        acting = {"noise", "dropout"} if kind == "embeddings" else fields - {"dropout"}
        return any(getattr(self, name) != getattr(NONE, name) for name in acting)

    def resolved(self, preset: AugmentationSettings) -> AugmentationSettings:
        """These settings with every None taken from ``preset``, and from ``NONE`` where that has none."""
        fields = type(self).model_fields
        chosen = {name: getattr(NONE, name) for name in fields}
        for source in (preset, self):
            given = {name: getattr(source, name) for name in fields}
            chosen |= {name: value for name, value in given.items() if value is not None}
        return AugmentationSettings(**chosen)


NONE = AugmentationSettings(
    rotation=0,
    scale=0,
    shift=0,
    shear=0,
    flip=0,
    crop=1,
    padding="zeros",
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    grayscale=0,
    cutout=0,
    noise=0,
    dropout=0,
)

# Affine without mirror images, as IMSAT and IIC do on digits; found by search on the 8x8 digits.
DIGITS = AugmentationSettings(rotation=0.375, scale=0.28, shift=0.32, shear=0.27).resolved(NONE)

# The larger MNIST digits have margins: IIC rotates by up to 25 degrees and crops 16 to 24 of 28 pixels.
MNIST = AugmentationSettings(rotation=0.436, scale=0.25, shift=0.15, shear=0.2).resolved(NONE)

# Crop, mirror image, colour jitter and grey as in SimCLR, IIC and SCAN, at half of SimCLR's jitter.
PHOTOS = AugmentationSettings(
    flip=0.5,
    crop=0.2,
    padding="reflection",
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale=0.2,
).resolved(NONE)

# Arrays say nothing of what they show: small motions hurt neither digits nor photographs.
CAUTIOUS = AugmentationSettings(
    rotation=0.15, scale=0.15, shift=0.1, padding="border", brightness=0.2, contrast=0.2
).resolved(NONE)
