"""Pictures of more than 8 bits: scaled by the bits that the data set uses, or refused by name."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cce_ray.config import load_config
from cce_ray.data.dataset import Source
from cce_ray.data.sources.folder import Folder

RAMP = np.arange(24 * 24).reshape(24, 24)
"""0 .. 575."""


def values(largest: int, kind: Any = np.uint16) -> np.ndarray:
    """A ramp from 0 to `largest`."""
    return (RAMP * largest // (RAMP.size - 1)).astype(kind)


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def read(folder: Path, **settings: Any) -> Source:
    return Folder(path=folder, channels="grey", **settings).source()


def images(source: Source) -> np.ndarray:
    return source.samples.read(np.arange(len(source.samples)))


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_each_pixel_type_of_a_data_set_has_its_own_depth(tmp_path: Path, memory: float) -> None:
    save(tmp_path / "a_twelve_bits.tif", values(4088))
    save(tmp_path / "b_bytes_as_int32.tif", values(255, np.int32))
    save(tmp_path / "c_bytes.png", values(255, np.uint8))
    source = read(tmp_path, memory_limit_gib=memory)
    found = images(source)
    assert np.array_equal(found[0, 0], values(4088) >> 4) and len(np.unique(found[0])) == 256
    assert np.array_equal(found[1, 0], values(255)) and np.array_equal(found[2, 0], values(255))
    assert source.reading == {"depth_16_bit": 12, "depth_32_bit": 8}
    assert source.notes == (
        "16-bit images use 12 bits (largest value 4088): scaled to 8 bits from there",
        "32-bit images use 8 bits (largest value 255): used as they are",
    )


@pytest.mark.parametrize(
    ("largest", "depth"),
    [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16383, 14), (16384, 16)],
)
def test_the_smallest_depth_that_holds_the_largest_value(tmp_path: Path, largest: int, depth: int) -> None:
    save(tmp_path / "a.png", values(largest))
    source = read(tmp_path)
    assert source.reading == {"depth_16_bit": depth}
    assert np.array_equal(images(source)[0, 0], values(largest) >> (depth - 8))
    assert bool(source.notes) == (depth < 16)


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_dark_and_bright_pictures_keep_their_difference(tmp_path: Path, memory: float) -> None:
    save(tmp_path / "a_dark.png", values(100))
    save(tmp_path / "b_bright.tif", values(4000))
    save(tmp_path / "c_dark.png", values(200))
    source = read(tmp_path, memory_limit_gib=memory)
    assert images(source).reshape(3, -1).max(axis=1).tolist() == [100 >> 4, 4000 >> 4, 200 >> 4]


def test_the_depth_is_that_of_the_files_that_are_used(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"{number}.png", values(4000 if number < 4 else 60000))
    readings = set()
    for seed in range(8):
        source = read(tmp_path, limit=2, split_seed=seed)
        bright = "4.png" in (source.ids or ())
        assert source.reading == {"depth_16_bit": 16 if bright else 12}
        readings.add(bright)
    assert readings == {False, True}


def test_unreadable_files_do_not_count(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", values(4000, np.int32))
    save(tmp_path / "b.tif", values(70000, np.int32))
    save(tmp_path / "c.tif", values(50, np.int32) - 1)
    save(tmp_path / "d.tif", values(1, np.float32))
    source = read(tmp_path)
    assert list(source.ids or ()) == ["a.tif"] and source.reading == {"depth_32_bit": 12}
    assert source.notes[1] == (
        "3 of 4 images unreadable and skipped: "
        "b.tif (32-bit pixels have no known range; save as 8 or 16 bits), "
        "c.tif (32-bit pixels have no known range; save as 8 or 16 bits), "
        "d.tif (floating-point pixels have no known range; save as 8 or 16 bits)"
    )


def test_a_model_reads_new_data_with_its_own_depth(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    save(tmp_path / "old" / "a.png", values(4095))
    save(tmp_path / "new" / "a.png", values(255))
    save(tmp_path / "new" / "b.png", values(5000))
    source = read(tmp_path / "new", **read(tmp_path / "old").reading)
    assert np.array_equal(images(source)[0, 0], values(255) >> 4) and len(source.samples) == 1
    assert source.reading == {"depth_16_bit": 12}
    assert source.notes == (
        "1 of 2 images unreadable and skipped: "
        "b.png (value 5000 is outside the 12 bits of data.depth_16_bit)",
    )
    with pytest.raises(
        ValueError, match=r"b\.png \(value 5000 is outside the 12 bits of data\.depth_16_bit\)"
    ):
        read(tmp_path / "new", depth_16_bit=12, on_unreadable="refuse")


def test_negative_values_are_outside_every_depth(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", values(100, np.int32) - 5)
    with pytest.raises(ValueError, match=r"value -5 is outside the 16 bits of data\.depth_32_bit"):
        read(tmp_path, depth_32_bit=16)


def test_depths_are_settings_of_a_run(tmp_path: Path) -> None:
    settings = ["data=folder", f"data.path={tmp_path}", "data.depth_16_bit=12", "data.depth_32_bit=auto"]
    config = load_config(None, settings)[0]
    assert isinstance(config.data, Folder)
    assert (config.data.depth_16_bit, config.data.depth_32_bit) == (12, "auto")
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "run.yaml", [])[0] == config
    with pytest.raises(ValueError, match=r"data\.depth_16_bit"):
        load_config(None, [*settings, "data.depth_16_bit=11"])


def big_endian_tiff(pixels: np.ndarray, *, signed: bool = False) -> bytes:
    """Grey (H, W) or colour (H, W, 3) samples of 16 bits, uncompressed."""
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.astype(">i2" if signed else ">u2").tobytes()
    bits_at, count = 8, 10 if signed else 9
    strip_at = 16
    tags = [
        (256, 3, 1, width << 16),
        (257, 3, 1, height << 16),
        (258, 3, bands, bits_at if bands == 3 else 16 << 16),
        (259, 3, 1, 1 << 16),
        (262, 3, 1, (2 if bands == 3 else 1) << 16),
        (273, 4, 1, strip_at),
        (277, 3, 1, bands << 16),
        (278, 3, 1, height << 16),
        (279, 4, 1, len(data)),
        *([(339, 3, 1, 2 << 16)] if signed else []),
    ]
    entries = b"".join(struct.pack(">HHII", *tag) for tag in tags)
    head = struct.pack(">2sHI", b"MM", 42, strip_at + len(data))
    return head + struct.pack(">HHHH", 16, 16, 16, 0) + data + struct.pack(">H", count) + entries + bytes(4)


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG file of 16 bits a channel: (H, W, 3) colour, (H, W, 2) grey or (H, W, 4) colour with alpha."""
    height, width, bands = pixels.shape
    kind = {2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def deep_pgm(pixels: np.ndarray) -> bytes:
    """A PGM or PPM file of 16 bits."""
    kind = 6 if pixels.ndim == 3 else 5
    return b"P%d %d %d 65535\n" % (kind, *pixels.shape[1::-1]) + pixels.astype(">u2").tobytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tif", big_endian_tiff(values(4000))),
        ("a.tif", big_endian_tiff(values(4000), signed=True)),
        ("a.pgm", deep_pgm(values(4000))),
    ],
    ids=["big-endian TIFF", "signed TIFF", "PGM"],
)
def test_16_bit_files_that_pillow_opens_in_other_modes(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    save(tmp_path / "b.png", values(2000))
    source = read(tmp_path)
    assert source.reading == {"depth_16_bit": 12}
    assert np.array_equal(images(source)[0, 0], values(4000) >> 4)
    assert np.array_equal(images(source)[1, 0], values(2000) >> 4)


def test_a_pgm_file_that_declares_its_range_uses_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 24 24 4095\n" + values(4095).astype(">u2").tobytes())
    found = images(read(tmp_path))[0, 0].astype(int)
    assert np.abs(found - values(4095) / 4095 * 255).max() <= 1


def colour(largest: int, bands: int = 3) -> np.ndarray:
    """(H, W, bands), the last of 2 or 4 bands opaque."""
    pixels = np.stack([values(largest)] * bands, axis=-1)
    if bands in (2, 4):
        pixels[..., -1] = 65535
    return pixels


def deep_sgi(largest: int) -> bytes:
    """An SGI file of 16 bits: Pillow writes the upper 8."""
    file = BytesIO()
    Image.fromarray((values(largest) >> 8).astype(np.uint8)).save(file, "SGI", bpc=2)
    return file.getvalue()


WRITERS = {
    "a.png": lambda largest: deep_png(colour(largest)),
    "b.png": lambda largest: deep_png(colour(largest, 4)),
    "c.png": lambda largest: deep_png(colour(largest, 2)),
    "d.tif": lambda largest: big_endian_tiff(colour(largest)),
    "e.ppm": lambda largest: deep_pgm(colour(largest)),
    "f.sgi": lambda largest: deep_sgi(largest),
}
DARK = "16-bit colour without values above 32767; save as 8 bits or set data.depth_16_bit_colour=16"


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_16_bit_colour_that_uses_fewer_bits_is_refused(tmp_path: Path, name: str, memory: float) -> None:
    (tmp_path / name).write_bytes(WRITERS[name](4095))
    save(tmp_path / "z.png", np.stack([values(255, np.uint8)] * 3, axis=-1))
    source = read(tmp_path, memory_limit_gib=memory)
    assert list(source.ids or ()) == ["z.png"] and source.reading == {}
    assert np.array_equal(images(source)[0, 0], values(255))
    assert source.notes == (f"1 of 2 images unreadable and skipped: {name} ({DARK})",)
    with pytest.raises(
        ValueError, match=r"^data\.path: 1 of 2 images unreadable in .*depth_16_bit_colour=16"
    ):
        read(tmp_path, on_unreadable="refuse")


@pytest.mark.parametrize("name", WRITERS)
def test_16_bit_colour_keeps_its_upper_8_bits_and_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WRITERS[name](65535))
    source = read(tmp_path)
    assert np.abs(images(source)[0, 0].astype(int) - (values(65535) >> 8)).max() <= 1
    assert source.reading == {"depth_16_bit_colour": 16}
    assert source.notes == ("of 16-bit colour (1 file) the upper 8 bits are used",)


def test_a_dark_picture_beside_bright_ones_or_for_their_model_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(WRITERS["a.png"](20000))
    source = read(tmp_path, depth_16_bit_colour=16)
    assert source.samples.read(np.array([0])).max() == 20000 >> 8 and source.notes == ()
    (tmp_path / "b.png").write_bytes(WRITERS["a.png"](60000))
    assert len(read(tmp_path).samples) == 2


EIGHT_BITS = {
    "png": "L LA RGB RGBA P 1",
    "tif": "L LA RGB RGBA P 1 CMYK",
    "bmp": "L RGB RGBA P 1",
    "tga": "L LA RGB RGBA P 1",
    "sgi": "L RGB RGBA",
    "ppm": "L RGB RGBA 1",
    "jp2": "L LA RGB RGBA",
    "webp": "L RGB RGBA",
    "avif": "L RGB RGBA",
}


@pytest.mark.parametrize("suffix", EIGHT_BITS)
def test_8_bit_files_are_never_taken_for_deep_ones(tmp_path: Path, suffix: str) -> None:
    for mode in EIGHT_BITS[suffix].split():
        dark = Image.fromarray(values(100, np.uint8)).convert("RGB").convert(mode)
        dark.save(tmp_path / f"{mode}.{suffix}")
    source = read(tmp_path)
    assert len(source.samples) == len(EIGHT_BITS[suffix].split())
    assert source.reading == {} and source.notes == ()


def test_16_bit_pixels_of_5_and_6_bits_a_channel_are_not_16_bit_colour(tmp_path: Path) -> None:
    data = bytes(8 * 8 * 2)
    head = struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 0, len(data), 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(head + data)
    assert read(tmp_path).reading == {}
