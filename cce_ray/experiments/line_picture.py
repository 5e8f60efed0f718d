"""Means with their spreads as lines, a panel a data set: for every study of one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from cce_ray.report import INK, SERIES, dress, new_figure, to_png

_SHIFT = 0.01
_MOST_TICKS = 10


@final
@dataclass(frozen=True)
class Point:
    """A mean at one value of the setting."""

    x: float
    mean: float
    sd: float | None = None


Lines = Mapping[str, Sequence[Point]]
"""{name of the line: its points}."""


def line_picture(panels: Mapping[str, Lines], xlabel: str, ylabel: str, *, log: bool = False) -> bytes:
    """PNG: {title of the panel: lines}; a line has the same colour in every panel.

    Args:
        panels: what is drawn; an empty panel says so.
        xlabel: of every panel.
        ylabel: of the first.
        log: whether x is logarithmic.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    told = next((title for title, lines in panels.items() if lines), None)
    figure = new_figure(max(4.0 * len(panels), 4.2), 3.6)
    for number, (title, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        ticks = sorted({point.x for points in lines.values() for point in points})
        for name, points in lines.items():
            place = names.index(name)
            axes.errorbar(
                shifted([point.x for point in points], place - (len(names) - 1) / 2, ticks, log),
                [point.mean for point in points],
                [point.sd or 0.0 for point in points],
                color=SERIES[place % len(SERIES)],
                marker="o",
                markersize=4,
                linewidth=1.4,
                elinewidth=0.9,
                capsize=2,
                label=name,
            )
        if log:
            axes.set_xscale("log")
        if len(ticks) <= _MOST_TICKS:
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        dress(axes, title, xlabel, ylabel if number == 1 else "", grid="both")
        if not lines:
            axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color=INK)
        elif title == told:
            axes.legend(fontsize=8.5, frameon=False, labelcolor=INK)
    return to_png(figure)


def shifted(values: Sequence[float], steps: float, ticks: Sequence[float], log: bool) -> list[float]:
    """The places a little to the side, by `steps` times a hundredth of the axis: bars stay apart."""
    first, last = ticks[0], ticks[-1]
    if log:
        return [value * (last / first) ** (_SHIFT * steps) for value in values]
    return [value + (last - first) * _SHIFT * steps for value in values]
