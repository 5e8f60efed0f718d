"""Every image below a folder is used, and everything else is accounted for."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cce_ray.data import load_dataset
from cce_ray.data.sources.folder import Folder
from cce_ray.data.storage.image_formats import EXCLUDED, image_formats
from cce_ray.data.storage.image_listing import list_images


def save(path: Path, value: int = 100, kind: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path, kind)


def test_all_raster_formats_of_pillow_are_images_and_nothing_else() -> None:
    formats = image_formats()
    usual = ".bmp .gif .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp"
    more = ".jfif .jpe .avif .apng .jp2 .j2k .mpo .tga .ico .psd .qoi .pcx .sgi .dds .dib .xpm"
    excluded = ".eps .ps .wmf .emf .mpg .mpeg .pdf .h5 .hdf .grib .bufr"
    assert formats.suffixes.issuperset(f"{usual} {more}".split())
    assert not formats.suffixes & set(excluded.split())
    assert not EXCLUDED & set(formats.names) and {"JPEG", "AVIF", "TIFF"} <= set(formats.names)
    Image.init()
    stubs = {name for name, (factory, _) in Image.OPEN.items() if "Stub" in getattr(factory, "__name__", "")}
    assert stubs - {"WMF"} <= EXCLUDED, "a new stub plug-in of Pillow"


def test_no_outside_program_is_started_whatever_a_file_is_called(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "drawing.jpg", "EPS")
    save(tmp_path / "photo.jpg")
    assert list(Folder(path=tmp_path).source().ids or ()) == ["photo.jpg"]


def test_suffixes_in_any_case(tmp_path: Path) -> None:
    kinds = {"a.JFIF": "JPEG", "b.Avif": "AVIF", "c.jpe": "JPEG", "d.TGA": "TGA", "e.jp2": "JPEG2000"}
    for value, (name, kind) in enumerate(kinds.items()):
        save(tmp_path / name, 40 * value, kind)
    source = Folder(path=tmp_path).source()
    assert list(source.ids or ()) == list(kinds) and source.notes == ()
    values = source.samples.read(np.arange(5))[:, 0, 4, 4]
    assert np.abs(values.astype(int) - 40 * np.arange(5)).max() <= 3


def test_everything_that_is_not_used_is_counted_by_kind(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for name in ("1.txt", "2.TXT", "x.heic", "README", "trailing.", ".DS_Store"):
        (tmp_path / name).write_text("x")
    save(tmp_path / ".thumbs" / "b.png")
    save(tmp_path / "__MACOSX" / "c.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        listing = list_images(tmp_path)
    assert listing.files == ["a.png"]
    assert listing.notes() == (
        "skipped 11 files (2 .txt, 2 broken links, 2 without a suffix, 1 .heic, 1 FIFO, 1 device, 1 hidden, "
        "1 socket) and 2 folders (1 hidden, 1 named __...); convert .heic to .png or .jpg to use them",
    )


def test_many_kinds_are_summed_up(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for number in range(12):
        (tmp_path / f"x.k{number:02}").write_text("")
    (tmp_path / "y.k11").write_text("")
    (note,) = list_images(tmp_path).notes()
    assert note.startswith("skipped 13 files (2 .k11, 1 .k00, 1 .k01, ") and note.endswith(
        "4 of 4 other kinds)"
    )


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "a.png" / "b.png")
    save(tmp_path / "c.png" / "d.png")
    source = Folder(path=tmp_path).source()
    assert list(source.ids or ()) == ["a.png/b.png", "c.png/d.png"] and source.class_names == (
        "a.png",
        "c.png",
    )


def test_two_links_to_one_folder_are_one_folder(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    listing = list_images(tmp_path / "data")
    assert listing.files == ["a/1.png"] and listing.notes() == ()


@pytest.fixture
def locked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three classes, of which `b` cannot be read (root may read all, so the call is replaced)."""
    for value, name in enumerate("abc"):
        save(tmp_path / name / "0.png", value)
    scandir = os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path).rstrip("/") == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    return tmp_path


def test_a_sub_folder_that_cannot_be_read_is_named(locked_folder: Path) -> None:
    source = Folder(path=locked_folder).source()
    assert list(source.ids or ()) == ["a/0.png", "c/0.png"] and source.class_names == ("a", "c")
    assert source.notes == ("left out 1 sub-folder that cannot be read: b (Permission denied)",)


def test_a_sub_folder_that_cannot_be_read_can_stop_it(locked_folder: Path) -> None:
    with pytest.raises(ValueError) as caught:
        Folder(path=locked_folder, on_unreadable="refuse").source()
    assert str(caught.value) == (
        f"data.path: '{locked_folder}' has 1 sub-folder that cannot be read: b (Permission denied); "
        "make them readable, or set data.on_unreadable=skip"
    )


def test_a_folder_that_cannot_be_read_itself(locked_folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^data\.path: '.*/b' cannot be read \(Permission denied\); make it"
    ):
        list_images(locked_folder / "b")


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_links_into_a_place_that_may_not_be_entered() -> None:
    code = (
        "import os, sys; from cce_ray.data.sources.folder import Folder\n"
        "Folder(path=sys.argv[1]).source()  # imports everything\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(*Folder(path=sys.argv[1]).source().notes, sep='\\n')"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder / "data" / "a.png")
        save(folder / "private" / "photos" / "b.png")
        (folder / "data" / "link").symlink_to(folder / "private" / "photos")
        (folder / "data" / "b.png").symlink_to(folder / "private" / "photos" / "b.png")
        (folder / "private").chmod(0o700)
        folder.chmod(0o755)
        command = [sys.executable, "-c", code, str(folder / "data")]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "left out 1 sub-folder that cannot be read: link (Permission denied)",
        "1 of 2 images unreadable and skipped: b.png (Permission denied)",
    ]


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_text("")
    (tmp_path / "b.svg").write_text("")
    with pytest.raises(ValueError) as caught:
        list_images(tmp_path)
    assert str(caught.value) == (
        f"data.path: '{tmp_path}' holds no images; skipped 2 files (1 .heic, 1 .svg); convert .heic .svg to "
        ".png or .jpg to use them; set data.path to a folder of .jpg, .png, .tif or other images"
    )


def test_a_path_that_is_too_long_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(File name too long\); set data\.path"):
        list_images(Path("/tmp") / ("x" * 300))


def latin1_folder(folder: Path) -> Path:
    """Two classes; a name that is not UTF-8, one with a line break, one that looks like an escape."""
    raw = os.fsencode(folder)
    for name in (b"a/plain.png", b"a/caf\xe9.png", b"b\xff/line\nbreak.png", b"b\xff/a\\xe9.png"):
        save(folder / "x.png")
        Path(os.fsdecode(raw + b"/" + name)).parent.mkdir(exist_ok=True)
        (folder / "x.png").rename(os.fsdecode(raw + b"/" + name))
    return folder


IDS = ["a/caf\\xe9.png", "a/plain.png", "b\\xff/a\\\\xe9.png", "b\\xff/line\nbreak.png"]


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_names_that_are_not_utf8_are_ids_that_can_be_written(tmp_path: Path, memory: float) -> None:
    data = load_dataset(Folder(path=latin1_folder(tmp_path), memory_limit_gib=memory))
    assert list(data.ids) == IDS and data.class_names == ("a", "b\\xff")
    "\n".join([*data.ids, *data.class_names]).encode()
    assert (data.samples.read(np.arange(4)) == 100).all()


def test_notes_on_names_that_are_not_utf8_stay_on_one_line(tmp_path: Path) -> None:
    for path in latin1_folder(tmp_path).rglob("*.png"):
        path.write_bytes(b"")
    save(tmp_path / "a" / "z.png")
    notes = Folder(path=tmp_path).source().notes
    names = ("a/caf\\xe9.png (", "b\\xff/a\\\\xe9.png (", "b\\xff/line\\nbreak.png (")
    assert len(notes) == 1 and all(name in notes[0] for name in names)
    notes[0].encode()
    assert "\n" not in notes[0]


CHILD = """
import os, sys
import numpy as np
from cce_ray.data import load_dataset
from cce_ray.data.sources.folder import Folder
path = os.fsdecode(sys.stdin.buffer.read())
for memory in (4.0, 0.0):
    data = load_dataset(Folder(path=path, memory_limit_gib=memory))
    assert (data.samples.read(np.arange(len(data.ids))) == 100).all()
    sys.stdout.buffer.write("\\0".join([*data.ids, *data.class_names, *data.notes, ""]).encode())
"""


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_are_the_same_in_every_locale(tmp_path: Path, locale: str) -> None:
    (tmp_path / "données").mkdir()
    folder = latin1_folder(tmp_path / "données")
    environment = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=os.fsencode(folder),
        capture_output=True,
        env=environment,
        check=True,
    )
    assert result.stdout.decode().split("\0")[:-1] == [*IDS, "a", "b\\xff"] * 2
