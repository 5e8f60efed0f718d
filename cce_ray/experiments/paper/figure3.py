"""Figure 3: the M-step's equation (17), Σ_k y_k(x) = 1, its interval, and Newton's way to the root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from cce_ray.experiments.experiment import Options, Outcome
from cce_ray.experiments.table import Table
from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.report import ACCENT, BAD, GOOD, INK, MUTED, dress, new_figure, to_png
from cce_ray.runs import Listener

HIGHEST = 2.6
_SUM = r"$\sum_k y_k(x)$"
_BOUND = r"$\sigma_{max}/(1+A)$"


@final
@dataclass(frozen=True)
class MStep:
    """One point's problem: minimise -ln σᵀy - Σ_k a_k ln y_k, with a_k = λ M u_k S_k."""

    title: str
    probs: tuple[float, ...]
    """σ."""
    weights: tuple[float, ...]
    """a."""

    @property
    def total(self) -> float:
        """A = Σ_k a_k = λ M uᵀS."""
        return sum(self.weights)

    @property
    def left(self) -> float:
        """The interval's open left end σ_max / (1 + A); its right end is σ_max."""
        return max(self.probs) / (1 + self.total)

    @property
    def start(self) -> float:
        """The reachable left end of Lemma 1, where Algorithm 1 begins."""
        return max(p / (1 + self.total - a) for p, a in zip(self.probs, self.weights, strict=True))

    def labels(self, x: np.ndarray) -> np.ndarray:
        """y_k(x) of (16), (..., K), for x inside the interval."""
        return np.array(self.weights) / (1 + self.total - np.array(self.probs) / x[..., None])

    def solved(self) -> np.ndarray:
        """y by one iteration of our EM: for a single point S_k = 1, so that λ = A and u = a/A give it."""
        return estimate_pseudo_labels(
            np.array([self.probs]),
            fairness_weight=self.total,
            prior=np.array(self.weights) / self.total,
            solver="em",
            max_iterations=1,
            tolerance=0,
        ).labels[0]

    def newton(self) -> list[float]:
        """Algorithm 1's x from Lemma 1's start on, until the sum is within 1e-9 of one."""
        found = [self.start]
        while len(found) < 50:
            x = np.array(found[-1])
            y = self.labels(x)
            if y.sum() - 1 < 1e-9:
                break
            slope = -(y**2 * self.probs / (np.array(self.weights) * x**2)).sum()
            found.append(float(x - (y.sum() - 1) / slope))
        return found


CASES = (
    MStep("(a) smallest σ outside the interval", (0.60, 0.30, 0.10), (0.3, 0.4, 0.3)),
    MStep("(b) smallest σ inside, left of the root", (0.40, 0.33, 0.27), (0.3, 0.4, 0.3)),
)


def values() -> Table:
    """Interval, start, root and labels of both cases."""
    rows = []
    for case in CASES:
        y, steps = case.solved(), case.newton()
        root = float(np.array(case.probs) @ y)
        rows.append(
            [
                case.title[:3],
                str(case.probs),
                str(case.weights),
                f"({case.left:.4f}, {max(case.probs):.4f}]",
                f"{min(case.probs):.4f}",
                f"{case.start:.4f}",
                f"{root:.6f}",
                f"{case.labels(np.array(root)).sum():.6f}",
                ", ".join(f"{value:.4f}" for value in y),
                str(len(steps) - 1),
            ]
        )
    headings = ["case", "σ", "a", "interval of x", "σ_min", "start (Lemma 1)", "root x = σᵀy", "Σ y there"]
    return Table("Values", [*headings, "y by our EM", "Newton steps"], rows)


def draw(axes: Any, case: MStep) -> None:
    """The sum over the interval, the level one, and Newton's steps on the curve."""
    top = max(case.probs)
    x = np.linspace(case.left, top, 600)[1:]
    axes.plot(x, case.labels(x).sum(-1), color=ACCENT, linewidth=2.2, label=_SUM)
    axes.axhline(1, color=INK, linewidth=1)
    for place, text in ((case.left, _BOUND), (top, r"$\sigma_{max}$"), (min(case.probs), r"$\sigma_{min}$")):
        axes.axvline(place, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.annotate(text, (place, 0), xytext=(4, 6), textcoords="offset points", fontsize=9.5, color=MUTED)
    steps = np.array(case.newton())
    heights = case.labels(steps).sum(-1)
    axes.plot(steps, heights, "o", color=BAD, markersize=5, label="Newton's steps from Lemma 1")
    for before, after, height in zip(steps[:-1], steps[1:], heights[:-1], strict=True):
        axes.plot([before, after], [height, 1], color=BAD, linewidth=0.9)
    root = float(np.array(case.probs) @ case.solved())
    axes.plot([root], [1], "*", color=GOOD, markersize=13, zorder=5, label="our EM: x = σᵀy")
    axes.set_ylim(0, HIGHEST)
    axes.set_xlim(min(case.left, min(case.probs)) - 0.02, top + 0.09 * (top - case.left) + 0.02)


def picture() -> bytes:
    """PNG, a panel a case."""
    figure = new_figure(9.0, 3.8)
    for number, case in enumerate(CASES, 1):
        axes = figure.add_subplot(1, 2, number)
        draw(axes, case)
        dress(axes, case.title, "x", _SUM if number == 1 else "")
    axes.legend(fontsize=9, frameon=False, labelcolor=INK, loc="upper right")
    return to_png(figure)


def run(options: Options, listener: Listener) -> Outcome:
    """Both cases drawn and solved."""
    table = values()
    return Outcome(
        title="Figure 3: the M-step has one root, and Newton finds it from the left",
        text="""
        Σ_k y_k(x) of (17), y_k(x) = a_k / (1 + A - σ_k/x) with a_k = λ M u_k S_k and A = Σ_k a_k, is convex
        and falls on (σ_max/(1+A), σ_max]: from infinity at the open left end to at most one at the right. So
        it is one exactly once, and Newton's method from the left never steps over the root, which is x =
        σᵀy. (b) Where σ_min lies inside the interval, the sum is at least one there: the search can begin at
        σ_min.

        The curve and Algorithm 1's steps (lines: tangents) are computed from (16). The star and y come from
        one EM iteration of `cce_ray.pseudo_labels`, which solves the same equation for the slack d = 1 + A -
        σ_max/x, as that divides by no rounded zero. The factor M, which the paper's (15) to (17) leave out,
        belongs to loss (11). The figure is the arXiv version's (the NeurIPS version has none); it prints no
        numbers, the two points are ours.
        """,
        tables=[table],
        data={"table": {"headings": table.headings, "rows": table.rows}},
        picture=picture(),
        caption="The sum of the labels over the interval of x, and Newton's steps to its root",
    )
