"""Which files are images: the raster formats that Pillow decodes by itself."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

EXCLUDED = frozenset(
    (
        "BUFR",  # stubs: only identified
        "GRIB",
        "HDF5",
        "EPS",  # Ghostscript draws these
        "MPEG",  # video, only identified
        "PDF",  # only written
        "WMF",  # drawn by Windows
    )
)

CONVERTIBLE = frozenset(
    (
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),  # camera raw
        *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".exr", ".hdr", ".psb", ".xcf"),
        *(".ai", ".emf", ".eps", ".pdf", ".ps", ".svg", ".wmf", ".dcm"),
    )
)
"""Suffixes of pictures that have to be converted first."""


class ImageFormats(NamedTuple):
    """What Pillow decodes."""

    names: tuple[str, ...]
    """Names of formats, in the order in which `Image.open` tries them."""
    suffixes: frozenset[str]
    """Lower case, with the dot."""


@lru_cache
def image_formats() -> ImageFormats:
    """Every raster format that the installed Pillow decodes without an outside program."""
    from PIL import Image

    Image.preinit()  # the usual formats first
    Image.init()
    names = tuple(name for name in Image.ID if name not in EXCLUDED)
    # MPO, the JPEG files of many phones, is opened by the JPEG plug-in.
    known = {*names, "MPO"}
    suffixes = (suffix for suffix, name in Image.registered_extensions().items() if name in known)
    return ImageFormats(names, frozenset(suffix.lower() for suffix in suffixes))
