"""List the images below a folder, and account for everything there that is not used."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname

from cce_ray.data.storage.file_names import escape_name, openable, show_name
from cce_ray.data.storage.image_formats import CONVERTIBLE, image_formats
from cce_ray.data.storage.own_results import is_own_chart, is_own_folder
from cce_ray.data.storage.special_files import special_kind

NAMED = 5
"""How many files or folders a note names."""
KINDS = 8
"""How many kinds of skipped files a note counts one by one."""
_NOUNS = ("broken link", "FIFO", "socket", "device", "special file")
"""Kinds that are counted as things; the others are adjectives of files and folders."""


@dataclass
class Listing:
    """The images below a folder and what else is there."""

    files: list[str] = field(default_factory=list)
    """Relative paths with forward slashes as `open` takes them, sorted by their escaped names."""
    skipped_files: Counter[str] = field(default_factory=Counter)
    """{kind: number of files}."""
    skipped_folders: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(sub-folder, reason)."""
    results: list[str] = field(default_factory=list)
    """Folders and charts that cce_ray or MLflow have written."""

    def notes(self) -> tuple[str, ...]:
        """What is not used, one line each."""
        notes = []
        if self.skipped_files or self.skipped_folders:
            notes.append(f"skipped {self._skipped()}")
        if self.unreadable:
            notes.append(f"left out {self.unreadable_text()}")
        if self.results:
            notes.append(
                f"left out {len(self.results)} results of earlier runs: {named(sorted(self.results))}"
                if len(self.results) > 1
                else f"left out the results of an earlier run: {named(self.results)}"
            )
        return tuple(notes)

    def unreadable_text(self) -> str:
        """The sub-folders that cannot be read: how many, their names and the reasons."""
        names = [f"{show_name(name)} ({reason})" for name, reason in sorted(self.unreadable)]
        return f"{counted(len(names), 'sub-folder')} that cannot be read: {shortened(names)}"

    def _skipped(self) -> str:
        parts = [
            f"{counted(counts.total(), what)} ({_by_kind(counts)})"
            for what, counts in (("file", self.skipped_files), ("folder", self.skipped_folders))
            if counts
        ]
        convertible = sorted(CONVERTIBLE & self.skipped_files.keys())
        remedy = f"; convert {' '.join(convertible)} to .png or .jpg to use them" if convertible else ""
        return " and ".join(parts) + remedy


def counted(number: int, what: str) -> str:
    """1 file, 2 files."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def shortened(names: list[str]) -> str:
    """The first few of `names`."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def named(names: list[str]) -> str:
    """The first few names of files or folders."""
    return shortened([show_name(name) for name in names])


def _by_kind(counts: Counter[str]) -> str:
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [
        counted(number, kind) if kind in _NOUNS else f"{number} {kind}" for kind, number in kinds[:KINDS]
    ]
    rest = kinds[KINDS:]
    if rest:
        parts.append(f"{sum(number for _, number in rest)} of {counted(len(rest), 'other kind')}")
    return ", ".join(parts)


def list_images(folder: Path) -> Listing:
    """Look through `folder` and all folders below it; hidden ones and results of earlier runs are left out.

    Raises:
        ValueError: no such folder, or no images in it.
    """
    _check_folder(folder)
    listing = Listing()
    for parent, entries in _walk(folder, listing):
        _sort_out(folder, parent, entries, listing)
    listing.files.sort(key=escape_name)
    if not listing.files:
        notes = "".join(f"; {note}" for note in listing.notes())
        raise ValueError(
            f"data.path: '{show_name(folder)}' holds no images{notes}; set data.path to a folder of .jpg, "
            ".png, .tif or other images"
        )
    return listing


def _check_folder(folder: Path) -> None:
    shown, remedy = show_name(folder), f"set data.path to a folder of images that {gethostname()} sees"
    try:
        mode = openable(folder).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"data.path: '{shown}' is not a folder; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"data.path: '{shown}' cannot be read ({reason}); {remedy}") from None
    if not stat.S_ISDIR(mode):
        remedy = "use data=arrays for a file" if stat.S_ISREG(mode) else remedy
        raise ValueError(f"data.path: '{shown}' is not a folder; {remedy}")


def _walk(folder: Path, listing: Listing) -> Iterator[tuple[str, dict[str, os.DirEntry[str]]]]:
    """(relative folder with a slash at its end, {name: entry}); links are followed (a common way to choose
    images), each folder is read once."""
    root = os.fspath(openable(folder))
    seen = {os.path.realpath(root)}
    pending = [""]
    while pending:
        parent = pending.pop()
        try:
            with os.scandir(os.path.join(root, parent)) as scanned:  # noqa: PTH118 (a million entries)
                entries = {entry.name: entry for entry in scanned}
        except OSError as error:
            if not parent:
                raise ValueError(
                    f"data.path: '{show_name(folder)}' cannot be read ({error.strerror}); make it readable"
                ) from None
            listing.unreadable.append((parent.rstrip("/"), error.strerror or str(error)))
            continue
        if parent and is_own_folder(Path(root, parent), entries.keys()):
            listing.results.append(parent.rstrip("/"))
            continue
        below = []
        for name in sorted(name for name, entry in entries.items() if _is_folder(entry)):
            real = os.path.realpath(entries.pop(name).path)
            if name.startswith("."):
                listing.skipped_folders["hidden"] += 1
            elif name.startswith("__"):
                listing.skipped_folders["named __..."] += 1
            elif real not in seen:
                seen.add(real)
                below.append(f"{parent}{name}/")
        pending.extend(reversed(below))
        yield parent, entries


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a circle of links, say
        return False


def _sort_out(root: Path, parent: str, entries: dict[str, os.DirEntry[str]], listing: Listing) -> None:
    """The images among the `entries` of a folder; the others are counted by kind."""
    suffixes = image_formats().suffixes
    place = Path(openable(root), parent)
    for name, entry in entries.items():
        suffix = Path(name).suffix.lower()
        kind = "hidden" if name.startswith(".") else None
        try:
            kind = kind or _special_kind(entry)
        except PermissionError as error:
            if suffix not in suffixes:  # perhaps a folder of images
                listing.unreadable.append((f"{parent}{name}", error.strerror or str(error)))
                continue
        if kind is None and suffix not in suffixes:
            kind = show_name(suffix) if len(suffix) > 1 else "without a suffix"
        if kind:
            listing.skipped_files[kind] += 1
        elif is_own_chart(place, name, entries.keys()):
            listing.results.append(f"{parent}{name}")
        else:
            listing.files.append(f"{parent}{name}")


def _special_kind(entry: os.DirEntry[str]) -> str | None:
    """What it is instead of a regular file. Raises PermissionError for a link whose target cannot be seen."""
    try:
        return None if entry.is_file() else special_kind(entry.stat().st_mode)
    except PermissionError:
        raise
    except OSError:
        return "broken link"
