"""Criteria that need no labels: cluster sizes, confidence, churn, and the watch for collapse."""

import numpy as np

USED_SHARE = 0.1
"""A cluster counts as used if it holds at least this share of the even size N/K (and at least one point)."""

FEW_USED = 0.5
"""A run with at most this share of its clusters in use counts as collapsed."""

_GIANT = 0.6
"""A run counts as collapsed if one cluster's share is this far from 1/K to 1 (0.8 for K=2, 0.64 for K=10)."""

_UNDECIDED = 0.1
"""A run counts as collapsed if the mean confidence is less than this far on the way from 1/K to 1."""

# Imbalance comes first: an imbalanced run is often undecided too, and its remedies are the opposite ones.
_AGAINST_IMBALANCE = (
    "a larger method.fairness_weight, another pseudo_labels.max_iterations, a smaller optimizer.learning_rate"
    " or, for embeddings, data.standardize=true"
)
_AGAINST_INDECISION = (
    "a larger optimizer.learning_rate, a smaller method.augmentation_weight, a smaller method.fairness_weight"
    " or, for embeddings, data.standardize=true"
)


def cluster_sizes(clusters: np.ndarray, num_clusters: int) -> np.ndarray:
    """(K,) int64: the number of points in each cluster."""
    return np.bincount(np.asarray(clusters), minlength=num_clusters)


def used_clusters(sizes: np.ndarray, share: float = USED_SHARE) -> int:
    """How many of the K clusters of ``sizes`` (K,) hold at least ``share`` · N/K points, and at least one."""
    return int((sizes >= max(1.0, share * sizes.sum() / len(sizes))).sum())


def mean_confidence(probs: np.ndarray) -> float:
    """The mean of the largest probability of each row of ``probs`` (N, K); 1/K means undecided."""
    return float(probs.max(axis=1).mean(dtype=np.float64))


def label_churn(before: np.ndarray, after: np.ndarray) -> float:
    """The share of points whose cluster id differs between two labellings of the same points, unmatched."""
    assert before.shape == after.shape and len(before) > 0, f"{before.shape} against {after.shape}"
    return float(np.mean(before != after))


def stability(labellings: list[np.ndarray]) -> np.ndarray:
    """(n,) float64: how well each of n >= 2 labellings of the same points agrees with the others, as its mean
    adjusted Rand index with them (Mourer et al., 2006.08530). Cluster ids need not correspond."""
    from sklearn.metrics import adjusted_rand_score

    agreement = np.array([[adjusted_rand_score(one, other) for other in labellings] for one in labellings])
    return (agreement.sum(1) - agreement.diagonal()) / (len(labellings) - 1)


def collapse_warning(sizes: np.ndarray, confidence: float) -> str | None:
    """One sentence saying why a run counts as collapsed and what to try, or None for a sound run.

    ``sizes`` (K,) are the cluster sizes at the end, ``confidence`` is the mean confidence there. Every reason
    that holds is named; the remedies are dotted settings.
    """
    num_clusters = len(sizes)
    used, largest = used_clusters(sizes), float(sizes.max() / sizes.sum())
    reasons = []
    if used <= FEW_USED * num_clusters:
        reasons.append(f"only {used} of {num_clusters} clusters are in use")
    if largest >= _between(num_clusters, _GIANT):
        reasons.append(f"one cluster holds {largest:.0%} of the points")
    remedies = _AGAINST_IMBALANCE if reasons else _AGAINST_INDECISION
    if confidence < _between(num_clusters, _UNDECIDED):
        reasons.append(f"the mean confidence is {confidence:.2f} (undecided is {1 / num_clusters:.2f})")
    if not reasons:
        return None
    return f"this run counts as collapsed: {' and '.join(reasons)}; try {remedies}"


def _between(num_clusters: int, way: float) -> float:
    """The value a share ``way`` of the way from 1/K to 1."""
    return 1 / num_clusters + way * (1 - 1 / num_clusters)
