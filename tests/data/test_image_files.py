"""Images of every mode come out upright, opaque and in 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cce_ray.data.image_files import Decoder

RGB, GREY = Decoder("rgb", None), Decoder("grey", None)
RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def saved(tmp_path: Path, image: Image.Image, name: str = "x.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_grey_and_colour(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 6, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(colours))
    assert np.array_equal(RGB(path), colours.transpose(2, 0, 1))
    luma = colours @ np.array([0.299, 0.587, 0.114])
    assert GREY(path).shape == (1, 8, 6) and np.abs(GREY(path)[0] - luma).max() <= 1
    grey = saved(tmp_path, Image.fromarray(RAMP), "grey.png")
    assert np.array_equal(GREY(grey)[0], RAMP) and np.array_equal(RGB(grey), np.stack([RAMP] * 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((6, 10), np.uint8)
    upright[:2, :5] = 255
    # What a camera stores so that the given orientation turns it upright.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), exif=exif.tobytes())
    assert np.array_equal(GREY(path)[0], upright)


def test_palettes_keep_their_colours(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:4] = (200, 10, 30)
    path = saved(tmp_path, Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE))
    assert np.array_equal(RGB(path), colours.transpose(2, 0, 1))


def test_16_bits_keep_their_range(tmp_path: Path) -> None:
    deep = RAMP.astype(np.uint16) * 257
    assert np.array_equal(GREY(saved(tmp_path, Image.fromarray(deep)))[0], RAMP)
    assert np.array_equal(RGB(saved(tmp_path, Image.fromarray(deep), "x.tif"))[1], RAMP)


def test_transparency_shows_white_whatever_lies_under_it(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (10, 20, 30, 255)
    pixels[2:] = (90, 90, 90, 0)
    image = RGB(saved(tmp_path, Image.fromarray(pixels)))
    assert image[:, 0, 0].tolist() == [10, 20, 30] and image[:, 3, 0].tolist() == [255, 255, 255]
    faint = Image.fromarray(np.dstack([np.zeros_like(RAMP), RAMP]))
    assert np.array_equal(GREY(saved(tmp_path, faint, "faint.png"))[0], 255 - RAMP)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (5, 5), value) for value in (40, 80, 120)]
    path = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert (GREY(path) == 40).all()


def test_bilevel_and_print_colours(tmp_path: Path) -> None:
    assert GREY(saved(tmp_path, Image.new("1", (4, 4), 1))).max() == 255
    ink = saved(tmp_path, Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "x.tif")
    assert RGB(ink)[:, 0, 0].tolist() == [255, 0, 0]


def test_floating_point_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="floating-point pixels have no known range"):
        GREY(saved(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), "x.tif"))


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (33, 47), (10, 10), (5, 9)])
def test_the_shorter_side_is_resized_and_the_centre_cropped(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    ramp = np.tile(np.linspace(0, 255, width), (height, 1)).astype(np.uint8)
    image = Decoder("grey", 10)(saved(tmp_path, Image.fromarray(ramp)))
    assert image.shape == (1, 10, 10)
    assert abs(float(image.mean()) - float(ramp.mean())) < 6, "the crop is centred"
    visible = min(width, height) / width * 255
    assert abs(float(image[0, 5, -1]) - float(image[0, 5, 0]) - visible) < 0.2 * visible


def test_shrinking_averages_instead_of_picking(tmp_path: Path) -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Decoder("grey", 8)(saved(tmp_path, Image.fromarray(board)))
    assert abs(image.astype(int) - 127).max() < 20


def test_truncated_files_raise(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for name in ("x.png", "x.jpg"):
        path = saved(tmp_path, Image.fromarray(noise), name)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(Exception, match=r"truncated|broken|incomplete|cannot"):
            RGB(path)
