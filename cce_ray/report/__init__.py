"""The report of a finished run: figures and one self-contained HTML page."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.report.report_input import ReportInput
from cce_ray.report.writing import FIGURE_FOLDER, REPORT_FILE, write_report

if TYPE_CHECKING:
    from cce_ray.report.search_page import Table, render_search
    from cce_ray.report.style import ACCENT, BAD, GOOD, INK, MUTED, SERIES, dress, new_figure, to_png
else:
    __getattr__ = lazy(
        __name__,
        {
            "search_page": ["Table", "render_search"],
            "style": ["ACCENT", "BAD", "GOOD", "INK", "MUTED", "SERIES", "dress", "new_figure", "to_png"],
        },
    )


__all__ = [
    "ACCENT",
    "BAD",
    "FIGURE_FOLDER",
    "GOOD",
    "INK",
    "MUTED",
    "REPORT_FILE",
    "SERIES",
    "ReportInput",
    "Table",
    "dress",
    "new_figure",
    "render_search",
    "to_png",
    "write_report",
]
