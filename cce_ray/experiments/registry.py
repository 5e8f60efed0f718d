"""The experiments of `cce experiment`, by name."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cce_ray.experiments.experiment import Run


class Entry(NamedTuple):
    """Where an experiment is and what it shows."""

    module: str
    """Below `cce_ray.experiments`; has a function `run(options, listener) -> Outcome`."""
    meaning: str
    """One sentence."""


EXPERIMENTS: dict[str, Entry] = {
    "figure1": Entry(
        "paper.figure1",
        "Collision (9) and Shannon's (8) cross-entropy of three soft labels, over all predictions.",
    ),
    "figure2": Entry(
        "paper.figure2",
        "Learning from corrupted labels: collision against Shannon's cross-entropy on soft targets.",
    ),
    "figure3": Entry(
        "paper.figure3", "The M-step's equation (17): where its root lies, and Newton's way to it."
    ),
    "table1": Entry(
        "paper.table1", "Pseudo-label solvers: seconds an iteration, iterations and seconds to convergence."
    ),
    "table2": Entry(
        "paper.table2", "Every method with searched settings, a linear classifier on fixed features."
    ),
    "table3": Entry("paper.table3", "The methods with VGG-4 from scratch on images; for a GPU, or --quick."),
    "table4": Entry("paper.table4", "The methods with ResNet-18 from SimCLR's weights; for a GPU."),
    "table5": Entry("paper.table5", "A few labels, VGG-4 from scratch; for a GPU, or --quick."),
    "table5_pretrained": Entry(
        "paper.table5_pretrained", "A few labels, ResNet-18 from SimCLR's weights; for a GPU."
    ),
    "table6": Entry("paper.table6", "Loss (10) against loss (11), a linear classifier on fixed features."),
    "table7": Entry(
        "paper.table7", "Loss (10) against loss (11), VGG-4 from scratch; for a GPU, or --quick."
    ),
    "semi_supervised": Entry(
        "studies.semi_supervised", "MNIST with a few labels: what the unlabelled images add."
    ),
    "long_tail": Entry(
        "studies.long_tail", "Exponentially imbalanced features: what the options of the prior buy."
    ),
    "clusters_study": Entry("studies.clusters_study", "More clusters than classes, and merged afterwards."),
    "lambda_study": Entry(
        "studies.lambda_study", "Accuracy against the fairness weight λ, for cce_plus and shannon."
    ),
}


def find_experiment(name: str) -> Run:
    """The experiment's `run`. ValueError, one line, for a name that is not in the registry."""
    if name not in EXPERIMENTS:
        close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        known = ", ".join(EXPERIMENTS)
        raise ValueError(f"experiment {name}: no such experiment; {guess}Known: {known}")
    run: Run = import_module(f"cce_ray.experiments.{EXPERIMENTS[name].module}").run
    return run
