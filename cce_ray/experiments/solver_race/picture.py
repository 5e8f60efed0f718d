"""Certified gap against time, a panel for every number of clusters."""

from __future__ import annotations

from typing import Any

from cce_ray.report import INK, MUTED, SERIES, dress, new_figure, to_png

HIGHEST = 20.0  # of the gap: what diverges leaves the picture
_PAPER_STYLES = ((MUTED, ":"), (MUTED, "--"), (MUTED, "-."), (INK, "-"))


def picture(report: dict[str, Any]) -> bytes:
    """PNG of every traced contender on one thread (and on the GPU) of the pictured problem."""
    cells = [cell for cell in report["cells"] if cell["trace"] and drawn(cell)]
    clusters = list(dict.fromkeys(cell["num_clusters"] for cell in cells))
    looks = _styles(cells)
    figure = new_figure(4.1 * max(1, len(clusters)), 4.1)
    target = min(report["plan"]["targets"])
    points, weight = report["plan"]["pictured"]
    handles: dict[str, Any] = {}
    for number, count in enumerate(clusters, 1):
        axes = figure.add_subplot(1, len(clusters), number)
        for cell in cells:
            if cell["num_clusters"] == count:
                handles[cell["contender"]] = draw(axes, cell, looks[cell["contender"]])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(target / 2, HIGHEST)
        axes.minorticks_off()
        title = f"K = {count}"
        dress(axes, title, xlabel="seconds", ylabel="certified gap" if number == 1 else "", grid="both")
    figure.suptitle(
        f"Time to a certified gap, M = {points}, λ = {weight:g}, one thread",
        x=0.01,
        ha="left",
        fontsize=11,
        color=INK,
    )
    names = [name for name in looks if name in handles]
    rows = max(1, -(-len(names) // 6))
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=-(-len(names) // rows),
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
    )
    return to_png(figure)


def drawn(cell: dict[str, Any]) -> bool:
    """More threads and `auto` would lie on the lines of the solvers themselves."""
    return cell["threads"] == 1 and cell.get("solver") != "auto"


def _styles(cells: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """(colour, line style) of every contender: the paper's in grey and black, ours in colours."""
    names: dict[str, list[str]] = {"paper": [], "ours": []}
    for cell in cells:
        if cell["contender"] not in names[cell["kind"]]:
            names[cell["kind"]].append(cell["contender"])
    paper = dict(zip(names["paper"], _PAPER_STYLES, strict=False))
    ours = {name: (SERIES[k % len(SERIES)], "-") for k, name in enumerate(names["ours"])}
    return {**paper, **ours}


def draw(axes: Any, cell: dict[str, Any], look: tuple[str, str]) -> Any:
    """One line; returns it for the legend."""
    color, style = look
    seconds, gaps = zip(*cell["trace"], strict=True)
    width = 2.0 if cell["kind"] == "ours" else 1.4
    return axes.plot(seconds, gaps, color=color, linestyle=style, linewidth=width)[0]
