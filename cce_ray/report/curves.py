"""Losses and metrics over the epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cce_ray.report.report_input import History
from cce_ray.report.style import INK, PALE, SERIES, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = (
    ("Loss", ("loss/",)),
    ("Scores against the labels", ("train/", "score/")),
    ("Clusters in use", ("clusters/used",)),
    ("Mean confidence", ("confidence/mean",)),
    ("Share of labels that changed", ("labels/churn",)),
    ("EM iterations per batch", ("em/iterations",)),
    ("Samples per second", ("throughput/samples_per_second",)),
)
"""Title of each panel and what its keys start with; panels without data are left out."""


def curves(histories: Mapping[int, History], kept_seed: int) -> Figure | None:
    """One panel per quantity: the kept seed in colour, other seeds pale behind it. None without any epoch."""
    history = histories.get(kept_seed, ())
    keys = list(dict.fromkeys(key for epoch in history for key in epoch))
    panels = [(title, [k for k in keys if k.startswith(prefixes)]) for title, prefixes in _PANELS]
    panels = [(title, found) for title, found in panels if found]
    if not panels:
        return None
    columns = min(4 if len(panels) in (4, 7, 8) else 3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(3.3 * columns, 2.4 * rows)
    for number, (title, found) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        _panel(axes, title, found, histories, kept_seed)
    return figure


def _panel(axes: Any, title: str, keys: list[str], histories: Mapping[int, History], kept_seed: int) -> None:
    main = "loss/total" if "loss/total" in keys else keys[0]
    for seed, history in histories.items():
        if seed != kept_seed:
            axes.plot(*_series(history, main), color=PALE, linewidth=0.9, zorder=1)
    keys = _without_copies(keys, histories[kept_seed])
    for color, key in zip(SERIES, sorted(keys, key=lambda key: key != main), strict=False):
        epochs, values = _series(histories[kept_seed], key)
        marker = "o" if len(epochs) <= 2 else None
        axes.plot(epochs, values, color=color, linewidth=1.7, marker=marker, markersize=4, label=_short(key))
    if len(keys) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4)
    dress(axes, title, xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _series(history: History, key: str) -> tuple[list[int], list[float]]:
    """Epoch numbers from 1, and the values at the epochs that have one."""
    points = [(epoch + 1, metrics[key]) for epoch, metrics in enumerate(history) if key in metrics]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _without_copies(keys: list[str], history: History) -> list[str]:
    """Leave out a part of the loss that is all of it."""
    total = _series(history, "loss/total")
    return [key for key in keys if key == "loss/total" or _series(history, key) != total]


def _short(key: str) -> str:
    return key.partition("/")[2].replace("_", " ")
