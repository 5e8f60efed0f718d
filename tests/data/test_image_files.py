"""Images of every mode come out upright, opaque and in 8 bits."""

import os
import socket
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from cce_ray.data.storage import image_files
from cce_ray.data.storage.image_files import LONGEST, Decoder, reason_of

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


@pytest.mark.parametrize("size", [(1, 60000), (60000, 1), (3, 5000), (16384, 2)])
def test_a_thin_picture_is_cropped_before_it_is_resized(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, resize = [], Image.Image.resize

    def recording(image: Image.Image, size: tuple[int, int], *arguments: Any, **options: Any) -> Image.Image:
        made.append(size)
        return resize(image, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", recording)
    side = 48
    path = saved(tmp_path, Image.new("RGB", size, (9, 8, 7)))
    assert Decoder("rgb", side)(path)[:, 20, 20].tolist() == [9, 8, 7]
    assert len(made) == 1 and max(made[0]) <= LONGEST * side and min(made[0]) == side


@pytest.mark.parametrize("size", [(2, 30), (30, 2), (3, 31), (40, 7)])
def test_the_middle_of_a_thin_picture_is_what_shows(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    ramp = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8) * 3
    image = Decoder("grey", 12)(saved(tmp_path, Image.fromarray(ramp))).astype(int)
    whole = Image.fromarray(ramp)
    factor = 12 / min(size)
    large = whole.resize((max(12, round(width * factor)), max(12, round(height * factor))), Image.BICUBIC)
    left, top = (large.width - 12) // 2, (large.height - 12) // 2
    expected = np.asarray(large.crop((left, top, left + 12, top + 12))).astype(int)
    assert np.abs(image[0] - expected).max() <= 3, "at most a pixel of the file beside the centre"


@pytest.mark.parametrize("size", [(40, 10), (10, 40), (41, 13), (9, 9)])
def test_pictures_up_to_four_to_one_are_resized_as_a_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    factor = 16 / min(size)
    whole = Image.fromarray(noise).resize(tuple(round(length * factor) for length in size), Image.BICUBIC)
    left, top = (whole.width - 16) // 2, (whole.height - 16) // 2
    expected = np.asarray(whole.crop((left, top, left + 16, top + 16))).transpose(2, 0, 1)
    assert np.array_equal(Decoder("rgb", 16)(saved(tmp_path, Image.fromarray(noise))), expected)


def test_what_is_not_a_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.png"))
    (tmp_path / "null.png").symlink_to("/dev/null")
    for name, kind in (("pipe", "FIFO"), ("folder", "folder"), ("socket", "socket"), ("null", "device")):
        with pytest.raises(OSError, match=f"a {kind}, not a regular file"):
            RGB(tmp_path / f"{name}.png")


def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    path = saved(tmp_path, Image.new("L", (9, 9)))
    with pytest.raises(Image.DecompressionBombError) as caught:
        RGB(path)
    assert reason_of(caught.value) == "more than 80 pixels; save it smaller"
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        assert RGB(saved(tmp_path, Image.new("L", (8, 9)))).shape == (3, 9, 8)
    assert [warning.category for warning in caught_warnings] == [Image.DecompressionBombWarning]


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "LARGE", 50)
    large, small = (saved(tmp_path, Image.new("L", (8, side)), f"{side}.png") for side in (8, 4))
    done = threading.Event()

    def decode() -> None:
        RGB(large)
        done.set()

    with image_files._one_at_a_time:
        thread = threading.Thread(target=decode)
        thread.start()
        assert RGB(small).shape == (3, 4, 8), "a small one does not wait"
        assert not done.wait(0.2)
    thread.join()
    assert done.is_set()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image that Pillow can identify"),
        (b"text", "not an image that Pillow can identify"),
        (b"\x89PNG\r\n\x1a\n", "not an image that Pillow can identify"),
    ],
)
def test_reasons_name_no_paths(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UnidentifiedImageError) as caught:
        RGB(tmp_path / "x.png")
    assert reason_of(caught.value) == reason
    with pytest.raises(FileNotFoundError) as missing:
        RGB(tmp_path / "missing.png")
    assert reason_of(missing.value) == "No such file or directory"


def frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (40 * number, 0, 0)) for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png", "avif"])
def test_the_first_page_or_frame_is_used_and_the_others_are_noticed(
    tmp_path: Path, suffix: str, count: int
) -> None:
    first, *others = frames(count)
    path = tmp_path / f"x.{suffix}"
    first.save(path, **({"save_all": True, "append_images": others} if others else {}))
    picture = RGB.decode(path)
    assert picture.several == (count > 1)
    assert np.abs(picture.pixels[:, 4, 4].astype(int) - [40, 0, 0]).max() <= 3


def test_previews_in_a_phones_jpeg_are_not_pages(tmp_path: Path) -> None:
    first, *others = frames(2)
    path = saved(tmp_path, first, "x.mpo", save_all=True, append_images=others)
    picture = RGB.decode(path.rename(tmp_path / "x.jpg"))
    assert not picture.several and abs(int(picture.pixels[0, 4, 4]) - 40) <= 3


def test_a_damaged_second_frame_does_not_spoil_the_first(tmp_path: Path) -> None:
    first, *others = frames(2)
    for suffix in ("gif", "tif", "png"):
        path = saved(tmp_path, first, f"x.{suffix}", save_all=True, append_images=others)
        path.write_bytes(path.read_bytes()[:-12])
        assert RGB(path)[0, 4, 4] == 40
