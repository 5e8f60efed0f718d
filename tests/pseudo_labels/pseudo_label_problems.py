"""Problems that the tests of this folder share: the known answers and random predictions of every kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cce_ray.pseudo_labels import estimate_pseudo_labels
from cce_ray.pseudo_labels.problem import Problem

CASES = Path(__file__).parent / "data" / "pseudo_label_cases.npz"


@dataclass(frozen=True)
class Case:
    """One known answer of data/pseudo_label_cases.npz."""

    name: str
    probs: np.ndarray
    prior: np.ndarray
    fairness_weight: float
    optimum: float
    certified_gap: float
    objective_at_probs: float
    em: dict[int, np.ndarray]
    objective_em: dict[int, float]

    def estimate(self, **options: Any) -> Any:
        return estimate_pseudo_labels(
            self.probs, fairness_weight=self.fairness_weight, prior=self.prior, **options
        )

    def problem(self) -> Problem:
        return make_problem(self.probs, self.fairness_weight, self.prior)


def known_cases() -> Iterator[Case]:
    with np.load(CASES, allow_pickle=False) as arrays:
        for name in arrays["names"]:
            yield Case(
                name=str(name),
                probs=arrays[f"{name}_probs"],
                prior=arrays[f"{name}_prior"],
                fairness_weight=float(arrays[f"{name}_fairness_weight"]),
                optimum=float(arrays[f"{name}_optimal_objective"]),
                certified_gap=float(arrays[f"{name}_certified_gap"]),
                objective_at_probs=float(arrays[f"{name}_objective_at_probs"]),
                em={n: arrays[f"{name}_em{n}"] for n in (1, 3)},
                objective_em={n: float(arrays[f"{name}_objective_em{n}"]) for n in (1, 3)},
            )


def make_problem(
    probs: np.ndarray,
    fairness_weight: float = 10.0,
    prior: np.ndarray | None = None,
    known: np.ndarray | None = None,
    prior_slack: float = 0.0,
) -> Problem:
    points, clusters = probs.shape
    return Problem(
        probs,
        np.full(clusters, 1 / clusters) if prior is None else prior,
        fairness_weight,
        np.full(points, -1) if known is None else known,
        prior_slack,
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@st.composite
def predictions(draw: st.DrawFn, max_points: int = 150, max_clusters: int = 12) -> np.ndarray:
    """σ from flat to saturated: softmax of scaled logits; ties, one-hot rows and exact zeros mixed in."""
    points = draw(st.integers(1, max_points))
    clusters = draw(st.integers(2, max_clusters))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 3.0, 10.0, 100.0, 1000.0]))
    logits = scale * random.normal(size=(points, clusters))
    if draw(st.booleans()):
        logits = np.round(logits)  # ties
    if draw(st.booleans()):
        logits[:, 0] += 3 * scale  # an unbalanced batch
    probs = softmax(logits)
    if draw(st.booleans()):
        one_hot = random.random(points) < 0.3
        probs[one_hot] = np.eye(clusters)[random.integers(clusters, size=one_hot.sum())]
    return probs


def priors(clusters: int, seed: int, zeros: bool = False) -> np.ndarray:
    prior = np.random.default_rng(seed).dirichlet(np.ones(clusters)) + 1e-4
    if zeros and clusters > 2:
        prior[0] = 0
    return prior / prior.sum()


weights = st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 10.0, 100.0, 1e4, 1e6])
