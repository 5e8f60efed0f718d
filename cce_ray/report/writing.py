"""From a finished run to the files of its report."""

from __future__ import annotations

from pathlib import Path

from cce_ray.files import replacing
from cce_ray.report.bars import confidence, sizes
from cce_ray.report.confusion import confusion
from cce_ray.report.curves import curves
from cce_ray.report.montage import exemplars, montage, pictures
from cce_ray.report.page import page
from cce_ray.report.report_input import ReportInput
from cce_ray.report.scatter import scatter
from cce_ray.report.style import to_png

REPORT_FILE, FIGURE_FOLDER = "report.html", "figures"


def write_report(folder: Path, *, result: ReportInput) -> list[Path]:
    """Write ``report.html`` and ``figures/*.png`` below ``folder``; returns their paths, the report first.

    The figures are curves (with any history), sizes, confidence, confusion (with labels), montage (of images)
    and scatter (of embeddings). The same input gives the same bytes. Each file appears whole or not at all.
    Raises OSError if the disk is full or the folder cannot be written.
    """
    found = exemplars(result)
    images = pictures(result, found)
    drawn = {
        "curves": curves(result.histories, result.kept_seed),
        "sizes": sizes(result),
        "confidence": confidence(result),
        "confusion": confusion(result),
        "montage": montage(found, images) if images else None,
        "scatter": scatter(result),
    }
    figures = {name: to_png(figure) for name, figure in drawn.items() if figure is not None}
    paths = [_write(folder / FIGURE_FOLDER / f"{name}.png", png) for name, png in figures.items()]
    embedded = {name: png for name, png in figures.items() if name != "montage"}  # its rows stand in the page
    report = _write(folder / REPORT_FILE, page(result, embedded, found, images).encode("utf-8"))
    return [report, *paths]


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
