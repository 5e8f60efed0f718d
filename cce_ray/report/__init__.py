"""The report of a finished run: figures and one self-contained HTML page."""

from cce_ray.report.report_input import ReportInput
from cce_ray.report.writing import FIGURE_FOLDER, REPORT_FILE, write_report

__all__ = ["FIGURE_FOLDER", "REPORT_FILE", "ReportInput", "write_report"]
