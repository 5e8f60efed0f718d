"""Which classes the clusters hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cce_ray.report.report_input import ReportInput
from cce_ray.report.style import INK, dress, new_figure, shortened, tick_every

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 20


def confusion(result: ReportInput) -> Figure | None:
    """Shares of each class by cluster, clusters in the order of their classes; None without labels.

    Up to 20 x 20 the counts stand in the cells. Clusters without a class come last.
    """
    if result.confusion is None:
        return None
    counts = result.confusion.counts
    rows, columns = counts.shape
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = 0.42 if max(rows, columns) <= _MOST_WITH_NUMBERS else 10 / max(rows, columns)
    figure = new_figure(max(3.6, 1.7 + cell * columns), max(3.0, 1.1 + cell * rows))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    if max(rows, columns) <= _MOST_WITH_NUMBERS:
        _numbers(axes, counts, shares)
    dress(axes, "Classes and clusters", xlabel="cluster", ylabel="class", grid="")
    step = tick_every(rows, 40)
    axes.set_yticks(np.arange(0, rows, step), [shortened(result.class_name(c)) for c in range(0, rows, step)])
    step = tick_every(columns, 40)
    rotation = 90 if columns > _MOST_WITH_NUMBERS else 0
    axes.set_xticks(np.arange(0, columns, step), result.confusion.clusters[::step], rotation=rotation)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.set_label("share of the class", fontsize=8.5)
    return figure


def _numbers(axes: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.55 else INK
            size = 8 if count < 1000 else 6.5
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size, color=color)
