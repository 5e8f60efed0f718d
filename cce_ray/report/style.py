"""How every figure looks. Only matplotlib's objects are used: pyplot keeps global state."""

from __future__ import annotations

import colorsys
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT, GOOD, BAD, PALE = (
    "#1f2933",
    "#7b8794",
    "#e4e7eb",
    "#2f6fde",
    "#2a9d8f",
    "#e76f51",
    "#cbd2d9",
)
SERIES = (ACCENT, "#e76f51", "#2a9d8f", "#8e6bbf", "#d19a1c", "#5c677d")
_DPI = 130


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width x height inches, laid out so that no label is cut."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09, wspace=0.02, hspace=0.03)
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=engine, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Any, title: str, xlabel: str = "", ylabel: str = "", grid: str = "y") -> None:
    """Title, labels, light frame; ``grid`` is 'x', 'y', 'both' or empty."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color=MUTED)
    axes.set_ylabel(ylabel, fontsize=9, color=MUTED)
    axes.tick_params(labelsize=8.5, colors=MUTED, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(PALE)
    if grid:
        axes.grid(True, axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def to_png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def distinct_colors(count: int) -> list[tuple[float, float, float]]:
    """``count`` colours as far apart as their number allows."""
    from matplotlib import colormaps

    if count <= 20:
        table: Any = colormaps["tab10" if count <= 10 else "tab20"]
        return list(table.colors[:count])
    golden = 0.61803398875  # steps of the golden ratio never come back near a hue soon
    return [colorsys.hls_to_rgb((0.6 + k * golden) % 1, (0.42, 0.58, 0.5)[k % 3], 0.62) for k in range(count)]


def tick_every(count: int, most: int = 30) -> int:
    """The step that leaves at most ``most`` of ``count`` ticks labelled."""
    return -(-count // most)


def shortened(name: str, length: int = 22) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= length else name[: length - 1] + "…"
