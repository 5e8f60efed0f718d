"""The most and the least confident images of each cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cce_ray.report.report_input import ReportInput
from cce_ray.report.style import INK, MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLUSTERS = 100
_IMAGES_IN_ALL, _FEWEST, _MOST = 600, 4, 10
_LARGEST_TILE, _LARGEST_TILE_OF_MANY, _MANY = 64, 32, 40
_ROW_GAP, _PAPER = 2, 255

Pictures = tuple[np.ndarray, np.ndarray]
"""The most and the least confident images of a cluster, each (n, H, W, 3) uint8."""


@dataclass(frozen=True)
class Exemplars:
    """Positions of the surest and the least sure points of one cluster, in this order."""

    cluster: int
    most: np.ndarray
    least: np.ndarray


def exemplars(result: ReportInput) -> list[Exemplars]:
    """For each non-empty cluster (the 100 largest): the extremes of confidence, no point in both.

    Ten on each side, fewer where there are many clusters.
    """
    shown = np.argsort(-result.sizes, kind="stable")[:_MOST_CLUSTERS]
    each = int(np.clip(_IMAGES_IN_ALL // (2 * len(shown)), _FEWEST, _MOST))
    found = []
    for cluster in np.sort(shown[result.sizes[shown] > 0]):
        members = np.flatnonzero(result.clusters == cluster)
        order = members[np.argsort(-result.confidence[members], kind="stable")]
        most = order[: min(each, -(-len(order) // 2))]
        found.append(Exemplars(int(cluster), most, order[len(most) :][-each:][::-1]))
    return found


def tiles(result: ReportInput, positions: np.ndarray, num_clusters: int) -> np.ndarray | None:
    """The images at ``positions`` as (n, H, W, 3) uint8, shrunk for display; None if they are no images."""
    if result.read is None:
        return None
    raw = result.read(np.sort(positions))
    if raw.ndim != 4:
        return None
    images = raw[np.argsort(np.argsort(positions, kind="stable"), kind="stable")]
    if images.dtype != np.uint8:
        images = np.round(np.clip(np.nan_to_num(images), 0, 1) * 255).astype(np.uint8)
    channels = images[:, :3] if images.shape[1] >= 3 else images[:, :1].repeat(3, 1)
    return _shrunk(
        channels.transpose(0, 2, 3, 1), _LARGEST_TILE_OF_MANY if num_clusters > _MANY else _LARGEST_TILE
    )


def sheet(images: np.ndarray, columns: int, rows: int = 1, gap: int = 1) -> np.ndarray:
    """(n, H, W, 3) row by row on white paper of ``rows`` x ``columns`` places; missing images stay white."""
    count, height, width, _ = images.shape
    assert count <= rows * columns, (count, rows, columns)
    paper = np.full((rows * (height + gap), columns * (width + gap), 3), _PAPER, np.uint8)
    for k in range(count):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        paper[top : top + height, left : left + width] = images[k]
    return paper[:-gap, :-gap]


def pictures(result: ReportInput, found: list[Exemplars]) -> list[Pictures]:
    """The images of each cluster's exemplars; empty if the samples are no images."""
    images = tiles(result, np.concatenate([np.r_[e.most, e.least] for e in found]), len(found))
    if images is None:
        return []
    parts, start = [], 0
    for exemplar in found:
        middle, end = start + len(exemplar.most), start + len(exemplar.most) + len(exemplar.least)
        parts.append((images[start:middle], images[middle:end]))
        start = end
    return parts


def montage(found: list[Exemplars], parts: list[Pictures]) -> Figure:
    """One row per cluster, the surest images on the left, the least sure on the right."""
    figure = new_figure(10.4, 0.75 + min(0.5, 26 / len(parts)) * len(parts))
    axes = figure.subplots(1, 2, sharey=True)
    columns = max(len(most) for most, _ in parts)
    for side, title in enumerate(("Most confident", "Least confident")):
        _side(axes[side], [sheet(part[side], columns) for part in parts], title)
    height = parts[0][0].shape[1]
    centres = [k * (height + _ROW_GAP) + height / 2 for k in range(len(parts))]
    names = [str(exemplar.cluster) for exemplar in found]
    axes[0].set_yticks(centres, names, fontsize=9 if len(parts) <= 40 else 6, color=INK)
    axes[0].set_ylabel("cluster", fontsize=9, color=MUTED)
    return figure


def _side(axes: Any, rows: list[np.ndarray], title: str) -> None:
    spaced = [np.pad(row, ((0, _ROW_GAP), (0, 0), (0, 0)), constant_values=_PAPER) for row in rows]
    axes.imshow(np.concatenate(spaced), aspect="equal", interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.tick_params(length=0)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _shrunk(images: np.ndarray, largest: int) -> np.ndarray:
    from PIL import Image

    height, width = images.shape[1:3]
    if max(height, width) <= largest:
        return images
    factor = largest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.stack(
        [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in images]
    )
