"""Embeddings in their two main directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cce_ray.report.report_input import ReportInput
from cce_ray.report.style import INK, distinct_colors, dress, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 3000
_MOST_NAMES = 20


def scatter(result: ReportInput) -> Figure | None:
    """First two principal components of at most 3000 points, by cluster and, with labels, by class.

    None for images and where the samples cannot be read.
    """
    if result.read is None:
        return None
    count = len(result.probs)
    chosen = np.arange(count)
    if count > MOST_POINTS:
        chosen = np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))
    if result.read(chosen[:1]).ndim != 2:
        return None
    plane = _plane(np.asarray(result.read(chosen), np.float32))
    panels = [("Clusters", result.clusters[chosen], result.num_clusters)]
    if result.labels is not None:
        panels.append(("Classes", result.labels[chosen], int(result.labels.max()) + 1))
    numbers = [_color_numbers(result, title, num_groups) for title, _, num_groups in panels]
    palette = np.array(distinct_colors(1 + max(map(max, numbers))))
    figure = new_figure(5.4 * len(panels), 4.1)
    for number, (title, groups, num_groups) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        names = [shortened(result.class_name(g)) if title == "Classes" else str(g) for g in range(num_groups)]
        _panel(axes, plane, groups, names, palette[numbers[number]])
        dress(axes, title, "first principal component", "second" if number == 0 else "", grid="")
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _plane(points: np.ndarray) -> np.ndarray:
    """(n, D) -> (n, 2)."""
    from sklearn.decomposition import PCA

    if min(points.shape) < 2:
        return np.pad(points[:, :1], ((0, 0), (0, 1)))
    return PCA(2, svd_solver="randomized", random_state=0).fit_transform(points)


def _color_numbers(result: ReportInput, title: str, num_groups: int) -> list[int]:
    """A class has the colour of its number, a cluster that of its class; one without a class, another."""
    if title == "Classes" or result.class_of is None:
        return list(range(num_groups))
    classes = result.class_of.tolist()
    free = (number for number in range(num_groups) if number not in classes)
    return [kind if kind >= 0 else next(free) for kind in classes]


def _panel(axes: Any, plane: np.ndarray, groups: np.ndarray, names: list[str], colors: np.ndarray) -> None:
    """Points in random order of drawing, so that no group lies on top; a legend for up to 20 groups."""
    order = np.random.default_rng(0).permutation(len(plane))
    axes.scatter(*plane[order].T, s=7, c=colors[groups[order]], alpha=0.65, linewidths=0)
    if len(names) > _MOST_NAMES:
        return
    for color, name in zip(colors, names, strict=True):
        axes.scatter([], [], s=22, color=color, label=name)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_color(INK)
