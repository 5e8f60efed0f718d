"""Figure 1: collision cross-entropy (9) and Shannon's (8) of fixed soft labels, over all predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cce_ray.experiments.experiment import Options, Outcome
from cce_ray.experiments.table import Table
from cce_ray.report import BAD, GOOD, INK, SERIES, dress, new_figure, to_png
from cce_ray.runs import Listener

LABELS = (0.9, 0.7, 0.5)
"""First components of the three y: sure, less so, and uniform."""
_COLORS = (BAD, GOOD, SERIES[0])
_SHOWN_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
HIGHEST = 3.0


def collision(first: float, x: np.ndarray) -> np.ndarray:
    """H₂(y, σ) of (9) at y = (first, 1 - first) and every σ = (x, 1 - x)."""
    import torch

    from cce_ray.losses import collision_cross_entropy_from_probs

    probs = torch.from_numpy(np.stack([x, 1 - x], 1))
    labels = torch.tensor([first, 1 - first], dtype=torch.float64).expand_as(probs)
    return collision_cross_entropy_from_probs(labels, probs).numpy()


def shannon(first: float, x: np.ndarray) -> np.ndarray:
    """H(y, σ) of (8) at the same places."""
    import torch

    from cce_ray.losses import shannon_cross_entropy

    probs = torch.from_numpy(np.stack([x, 1 - x], 1))
    labels = torch.tensor([first, 1 - first], dtype=torch.float64).expand_as(probs)
    return shannon_cross_entropy(probs.log(), labels).numpy()


LOSSES: dict[str, Callable[[float, np.ndarray], np.ndarray]] = {
    "H₂ (9)": collision,
    "H (8)": shannon,
}


def number(value: float) -> str:
    """Four digits, or ∞."""
    return f"{value:.4f}" if np.isfinite(value) else "∞"


def values() -> Table:
    """Both losses at a few predictions, and where they are lowest."""
    x = np.linspace(0, 1, 1001)
    rows = []
    for first in LABELS:
        for name, loss in LOSSES.items():
            curve = loss(first, x)
            flat = np.ptp(curve) < 1e-12
            lowest = "everywhere" if flat else f"{x[np.argmin(curve)]:g}"
            shown = [number(value) for value in loss(first, np.array(_SHOWN_AT))]
            rows.append([f"({first:g}, {1 - first:.2g})", name, *shown, lowest])
    return Table("Values", ["y", "loss", *(f"x = {x:g}" for x in _SHOWN_AT), "lowest at x ="], rows)


def picture() -> bytes:
    """PNG: solid lines collision, dashed ones Shannon."""
    figure = new_figure(6.2, 4.0)
    axes = figure.add_subplot()
    x = 1 / (1 + np.exp(-np.linspace(-32, 32, 2001)))  # dense at both ends, where H leaves the picture
    for first, color in zip(LABELS, _COLORS, strict=True):
        label = f"y = ({first:g}, {1 - first:.2g})"
        axes.plot(x, collision(first, x), color=color, linewidth=2.2, label=label)
        axes.plot(x, shannon(first, x), color=color, linewidth=1.1, linestyle=(0, (4, 2)))
    axes.plot([], [], color=INK, linewidth=2.2, label="collision, H₂(y, σ)")
    axes.plot([], [], color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label="Shannon, H(y, σ)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, HIGHEST)
    dress(axes, "Cross-entropy of soft labels", "x, where σ = (x, 1 - x)", "cross-entropy", grid="both")
    axes.legend(fontsize=8.5, frameon=False, labelcolor=INK, ncols=2, loc="upper center")
    return to_png(figure)


def run(options: Options, listener: Listener) -> Outcome:
    """Curves, and a table of known values."""
    table = values()
    return Outcome(
        title="Figure 1: collision and Shannon's cross-entropy",
        text="""
        H₂(y, σ) = -ln Σ_k y_k σ_k of (9), solid, and H(y, σ) = -Σ_k y_k ln σ_k of (8), dashed, for three
        fixed soft labels y and every prediction σ = (x, 1 - x). For y that is not one-hot, H₂ is bounded,
        and lowest where σ is one-hot at y's larger class. H is infinite at both ends and lowest at σ = y: it
        trains the network to copy the label's uncertainty. For the uniform y, H₂ is ln 2 = 0.6931 wherever σ
        lies: such a label does not train at all.

        Drawn with `cce_ray.losses`. The paper does not print its three labels; these are ours.
        """,
        tables=[table],
        data={"labels": LABELS, "table": {"headings": table.headings, "rows": table.rows}},
        picture=picture(),
        caption="Collision cross-entropy (solid) and Shannon's (dashed) of three soft labels",
    )
