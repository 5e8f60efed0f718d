"""How large the clusters are, and how sure the model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cce_ray.metrics import USED_SHARE
from cce_ray.report.report_input import ReportInput
from cce_ray.report.style import ACCENT, BAD, GOOD, INK, MUTED, PALE, dress, new_figure, tick_every

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sizes(result: ReportInput) -> Figure:
    """Points per cluster against the even share N/K; clusters that do not count as used are pale."""
    figure = new_figure(5.4, 2.9)
    axes = figure.add_subplot()
    count, even = result.num_clusters, len(result.probs) / result.num_clusters
    used = result.sizes >= max(1.0, USED_SHARE * even)
    axes.bar(np.arange(count), result.sizes, width=0.78, color=np.where(used, ACCENT, PALE))
    axes.axhline(even, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "even share",
        (1, even),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=INK,
    )
    dress(axes, f"{result.used} of {count} clusters in use", xlabel="cluster", ylabel="points")
    axes.set_xticks(np.arange(0, count, tick_every(count, 25)))
    axes.margins(x=0.015)
    return figure


def confidence(result: ReportInput) -> Figure:
    """Histogram of the largest probability; with labels split into right and wrong by the matching."""
    figure = new_figure(5.4, 2.9)
    axes = figure.add_subplot()
    low = 1 / result.num_clusters
    bins = np.linspace(low, 1, 41).tolist()
    values = np.clip(result.confidence, low, 1)
    if result.labels is None or result.class_of is None:
        axes.hist(values, bins=bins, color=ACCENT)
    else:
        right = result.class_of[result.clusters] == result.labels
        parts = [values[right], values[~right]]
        axes.hist(parts, bins=bins, stacked=True, color=[GOOD, BAD], label=["right", "wrong"])
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="upper left")
    dress(axes, f"Confidence, {result.confidence.mean():.2f} on average", "largest probability", "points")
    axes.axvline(low, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xlim(low - 0.02, 1.01)
    return figure
