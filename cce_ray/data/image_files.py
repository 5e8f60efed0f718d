"""One image file as an array: every colour mode and orientation brought to the same form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)


@final
@dataclass(frozen=True)
class Decoder:
    """Decodes image files to (C, H, W) uint8."""

    channels: Literal["rgb", "grey"]
    image_size: int | None
    """Side of the square result: shorter side resized to it (antialiased), centre cropped; None: as it is."""

    def __call__(self, path: Path) -> np.ndarray:
        """The first frame of ``path``, upright, opaque (on white), 8 bits.

        Raises:
            Exception: whatever Pillow raises on files that are missing, damaged, cut short or no images.
        """
        from PIL import Image, ImageOps

        with Image.open(path) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
        image = _opaque(_eight_bits(upright)).convert("RGB" if self.channels == "rgb" else "L")
        if self.image_size is not None:
            image = _fitted(image, self.image_size)
        pixels = np.asarray(image, dtype=np.uint8)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if pixels.ndim == 3 else pixels[None].copy()


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey keeps its upper byte; Pillow's own conversion would clip it at 255."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save as 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels have no known range; save as 8 or 16 bits")
    # Mode I is how older Pillows open 16-bit files; 8-bit files never come as I.
    return Image.fromarray((values >> 8).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """Transparent pixels show white, as on a page, not the arbitrary colour that is stored under them."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image.convert("RGBA"))


def _fitted(image: Image.Image, side: int) -> Image.Image:
    from PIL import Image

    factor = side / min(image.size)
    width, height = (max(side, round(length * factor)) for length in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))
