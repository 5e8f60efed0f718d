"""One image file as an array: every colour mode and orientation brought to the same form."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

import numpy as np

from cce_ray.data.storage.file_names import show_name
from cce_ray.data.storage.image_formats import image_formats
from cce_ray.data.storage.special_files import check_regular

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

DeepType = Literal["depth_16_bit", "depth_32_bit", "depth_16_bit_colour"]
"""The pixel types of more than 8 bits, each by the setting of `Folder` for its depth."""

LONGEST = 4
"""Of a longer side only so many times the shorter one is resized."""
LARGE = 1 << 25
"""Pixels above which one image is decoded at a time: each may take a gigabyte."""
_one_at_a_time = threading.Lock()


@final
@dataclass(frozen=True)
class Picture:
    """A decoded file."""

    pixels: np.ndarray
    """(C, H, W) uint8."""
    deep_type: DeepType | None
    """None: 8 bits a channel or fewer."""
    largest: int
    """Largest value of a deep picture; of 16-bit colour its upper 8 bits. 0 of others."""
    several: bool
    """Whether the file has more pages or frames, of which this is the first."""


@final
@dataclass(frozen=True)
class Decoder:
    """Decodes image files to (C, H, W) uint8."""

    channels: Literal["rgb", "grey"]
    image_size: int | None
    """Side of the square result: shorter side resized to it (antialiased), centre cropped; None: as it is."""
    depths: Mapping[str, int] = field(default_factory=dict)
    """{pixel type: bits in use}; where it is missing, all 16 are, and larger values are refused."""

    def __call__(self, path: Path) -> np.ndarray:
        """The pixels of `decode`."""
        return self.decode(path).pixels

    def decode(self, path: Path) -> Picture:
        """The first frame of ``path``, upright, opaque (on white), 8 bits.

        Raises:
            Exception: whatever Pillow raises on files that are missing, damaged, cut short or not images;
                ValueError on pixels without a known range.
        """
        from PIL import Image, ImageOps

        check_regular(path)
        with Image.open(path, formats=image_formats().names) as opened:
            large = opened.width * opened.height > LARGE
            with _one_at_a_time if large else nullcontext():
                deep_type = _deep_type(opened)
                opened.load()
                ImageOps.exif_transpose(opened, in_place=True)  # a copy could take a gigabyte
                largest = _check_values(opened, deep_type, self.depths)
                image = _opaque(_eight_bits(opened, deep_type, self.depths))
                image = image.convert("RGB" if self.channels == "rgb" else "L")
                several = _has_several(opened)  # last: it moves to other frames
                if self.image_size is not None:
                    image = _fitted(image, self.image_size)
        pixels = np.asarray(image, dtype=np.uint8)
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if pixels.ndim == 3 else pixels[None].copy()
        return Picture(pixels, deep_type, largest, several)


def reason_of(error: Exception) -> str:
    """Why a file could not be decoded, one short line."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can identify"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; save it smaller"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return show_name((str(error).splitlines() or [type(error).__name__])[0][:80])


def _deep_type(opened: ImageFile) -> DeepType | None:
    """By what the file holds, asked before it is loaded: Pillow opens 16-bit grey as I;16 or as I."""
    if opened.mode.startswith("I;16"):
        return "depth_16_bit"
    if opened.mode == "I":
        deep = opened.format in ("PNG", "PPM") or _tiff_bits(opened) == 16
        return "depth_16_bit" if deep else "depth_32_bit"
    return "depth_16_bit_colour" if opened.mode != "F" and _keeps_upper_bytes(opened) else None


def _keeps_upper_bytes(opened: ImageFile) -> bool:
    """Whether Pillow reads samples of 16 bits into a mode of 8 bits: colour, or grey beside transparency."""
    if _tiff_bits(opened) >= 16:
        return True
    for tile in opened.tile:
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        first, last = (arguments[0], arguments[-1]) if arguments else (None, None)
        if isinstance(first, str) and re.search(r";16[BLN]$", first):
            return True
        if opened.format == "PPM" and tile.codec_name.startswith("ppm") and last == 65535:
            return True
        if tile.codec_name == "SGI16" or (tile.codec_name == "sgi_rle" and last == 2):
            return True
    return False


def _tiff_bits(opened: ImageFile) -> int:
    """Bits a sample of a TIFF file, else 0."""
    from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

    bits = opened.tag_v2.get(BITSPERSAMPLE, (1,)) if isinstance(opened, TiffImageFile) else (0,)
    return int(max(bits)) if isinstance(bits, tuple) else int(bits)


def _has_several(opened: ImageFile) -> bool:
    """Whether the file has pages or frames beside the one that is used.

    The further images of a phone's JPEG (MPO) show the same scene as a preview, a depth or gain map or for
    the other eye, and the layers of a PSD file are parts of one picture: neither counts.
    """
    if opened.format in ("MPO", "PSD"):
        return False
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # A damaged second frame does not spoil the first.
        return False


def _check_values(image: Image.Image, deep_type: DeepType | None, depths: Mapping[str, int]) -> int:
    """The largest value of a deep picture, 0 of others. Raises ValueError if its range is not known."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save as 8 or 16 bits")
    if deep_type is None:
        return 0
    if deep_type == "depth_16_bit_colour":
        extrema = image.getextrema()
        bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
        colour = (band for name, band in zip(image.getbands(), bands, strict=True) if name not in "AaX")
        return max(int(band[1]) for band in colour)
    values = np.asarray(image)
    smallest, largest = int(values.min()), int(values.max())
    depth = depths.get(deep_type)
    if smallest < 0 or largest >= 1 << (depth or 16):
        if depth:
            value = smallest if smallest < 0 else largest
            raise ValueError(f"value {value} is outside the {depth} bits of data.{deep_type}")
        kind = "32-bit" if deep_type == "depth_32_bit" else "negative"
        raise ValueError(f"{kind} pixels have no known range; save as 8 or 16 bits")
    return largest


def _eight_bits(image: Image.Image, deep_type: DeepType | None, depths: Mapping[str, int]) -> Image.Image:
    """Deep grey keeps the upper 8 of the bits in use; Pillow's own conversion would clip it at 255."""
    from PIL import Image

    if deep_type is None or deep_type == "depth_16_bit_colour":
        return image
    return Image.fromarray((np.asarray(image) >> (depths.get(deep_type, 16) - 8)).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """Transparent pixels show white, as on a page, not the arbitrary colour that is stored under them."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image if image.mode == "RGBA" else image.convert("RGBA"))


def _fitted(image: Image.Image, side: int) -> Image.Image:
    from PIL import Image

    image = _without_ends(image)
    factor = side / min(image.size)
    width, height = (max(side, round(length * factor)) for length in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _without_ends(image: Image.Image) -> Image.Image:
    """The middle of a long image: resizing a line of 1 x 60000 pixels as a whole would take gigabytes."""
    longest = LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = (max(0, length - longest) // 2 for length in image.size)
    width, height = (min(length, longest) for length in image.size)
    return image.crop((left, top, left + width, top + height))
