"""What the solvers of `pseudo_labels` are measured against: the paper's own, as plain Numba loops.

Each function does `iterations` iterations for (11) on labels y, (M, K), in place, on one thread, with IEEE
arithmetic, and returns whether y is still usable. Nothing here is tuned, and nothing made slow on purpose:
the loops run inside one compiled call, and y is floored at the smallest normal number, as denormals are slow.
"""

import numpy as np

from cce_ray.pseudo_labels import compiled_strictly

# The paper's step sizes (Table 1) belong to the gradient of the mean objective (11), whose row i is 1/M of
# the gradient of that row's own problem, and to a batch of 250. A row's step here is η/250 of its own
# gradient at every M: at M = 250 exactly the paper's; at larger M the literal step would be so much shorter.
STEP_POINTS = 250

_NEWTON_TOLERANCE = 1e-9  # of Σ_k y_k - 1
NEWTON_STEPS = 100


@compiled_strictly
def paper_em(
    probs: np.ndarray, labels: np.ndarray, prior: np.ndarray, fairness_weight: float, iterations: int
) -> bool:
    """The paper's EM: E-step (14), then Algorithm 1 in every row, a cold Newton on x from Lemma 1.

    Weights are a_k = λ M u_k S_k, with the factor M without which the M-step does not minimise (11); the
    numerator is that of (16). Where 1 + A - σ_k/x rounds below a_k, which no y_k <= 1 allows, it counts as
    a_k. Rows are normalised at the end: Newton stops at a sum within `_NEWTON_TOLERANCE` of one.
    """
    prices = np.empty(probs.shape[1])
    weights = np.empty(probs.shape[1])
    tiny = np.finfo(labels.dtype).tiny
    for _ in range(iterations):
        if not prices_at(labels, prior, fairness_weight, prices):
            return False
        for i in range(probs.shape[0]):
            total = 0.0
            for k in range(probs.shape[1]):
                weights[k] = prices[k] * labels[i, k]
                total += weights[k]
            _newton_on_x(probs[i], weights, total, labels[i], tiny)
    return True


@compiled_strictly
def _newton_on_x(
    probs: np.ndarray, weights: np.ndarray, total: float, labels: np.ndarray, tiny: float
) -> None:
    """Σ_k a_k / (1 + A - σ_k/x) = 1 for one row, y into `labels`; from the left, so that x only grows."""
    x = 0.0
    for k in range(len(probs)):
        x = max(x, probs[k] / (1.0 + total - weights[k]))
    for _ in range(NEWTON_STEPS):
        excess = -1.0
        slope = 0.0
        for k in range(len(probs)):
            denominator = max(1.0 + total - probs[k] / x, weights[k])
            excess += weights[k] / denominator
            slope -= weights[k] * probs[k] / (x * x * denominator * denominator)
        if not excess >= _NEWTON_TOLERANCE:
            break
        moved = x - excess / slope
        if not moved > x:
            break
        x = moved
    height = 0.0
    for k in range(len(probs)):
        labels[k] = weights[k] / max(1.0 + total - probs[k] / x, weights[k])
        height += labels[k]
    for k in range(len(probs)):
        labels[k] = max(labels[k] / height, tiny)


@compiled_strictly
def plain_slack_em(
    probs: np.ndarray, labels: np.ndarray, prior: np.ndarray, fairness_weight: float, iterations: int
) -> bool:
    """The same EM in the slack form that `em` solves: a cold Newton on d in every row, row by row.

    What remains of `em`'s speed over this is its warm start, its better Newton step and its vector registers.
    Computes in float64; `probs` and `labels` may be float32.
    """
    prices = np.empty(probs.shape[1])
    weights = np.empty(probs.shape[1])
    deficits = np.empty(probs.shape[1])
    tiny = np.finfo(labels.dtype).tiny
    for _ in range(iterations):
        if not prices_at(labels, prior, fairness_weight, prices):
            return False
        for i in range(probs.shape[0]):
            peak = 0.0
            for k in range(probs.shape[1]):
                peak = max(peak, np.float64(probs[i, k]))
            total = 0.0
            for k in range(probs.shape[1]):
                weights[k] = prices[k] * np.float64(labels[i, k])
                deficits[k] = (peak - np.float64(probs[i, k])) / peak
                total += weights[k]
            _newton_on_slack(weights, deficits, 1.0 + total, labels[i], tiny)
    return True


@compiled_strictly
def _newton_on_slack(
    weights: np.ndarray, deficits: np.ndarray, scale: float, labels: np.ndarray, tiny: float
) -> None:
    """h(d) = Σ_k a_k / ((1+A)(1-r_k) + r_k d) = 1 for one row, from its left bound max {a_k : r_k = 1}."""
    slack = 0.0
    for k in range(len(weights)):
        if deficits[k] == 0.0:
            slack = max(slack, weights[k])
    height = 0.0
    for _ in range(NEWTON_STEPS):
        height = 0.0
        slope = 0.0
        for k in range(len(weights)):
            ratio = 1.0 - deficits[k]
            denominator = scale * deficits[k] + ratio * slack
            share = weights[k] / denominator
            height += share
            slope += share * ratio / denominator
        if not height - 1.0 >= _NEWTON_TOLERANCE:
            break
        moved = slack + (height - 1.0) / slope
        if not moved > slack:
            break
        slack = moved
    for k in range(len(weights)):
        share = weights[k] / (scale * deficits[k] + (1.0 - deficits[k]) * slack)
        labels[k] = max(share / height, tiny)


@compiled_strictly
def fixed_step_pgd(
    probs: np.ndarray,
    labels: np.ndarray,
    prior: np.ndarray,
    fairness_weight: float,
    step: float,
    iterations: int,
) -> bool:
    """Projected gradient descent on (11) with one fixed step and the exact projection onto the simplex.

    A row moves by step / `STEP_POINTS` times -∂(M · (11))/∂y_i = σ_i/(σ_iᵀy_i) + λu/ȳ: `step` is the paper's
    η. False: diverged, as a cluster has become empty, where (11) is infinite and has no gradient. Around
    balanced means that happens for steps beyond about 2/(λK) · `STEP_POINTS`.
    """
    prices = np.empty(probs.shape[1])
    moved = np.empty(probs.shape[1])
    length = step / STEP_POINTS
    for _ in range(iterations):
        if not prices_at(labels, prior, fairness_weight, prices):
            return False
        for i in range(probs.shape[0]):
            hit = 0.0
            for k in range(probs.shape[1]):
                hit += probs[i, k] * labels[i, k]
            for k in range(probs.shape[1]):
                moved[k] = labels[i, k] + length * (probs[i, k] / hit + prices[k])
            project(moved, labels[i])
    return True


@compiled_strictly
def project(point: np.ndarray, nearest: np.ndarray) -> None:
    """The nearest point of the simplex: max(point - τ, 0), τ by Michelot's passes."""
    total = 0.0
    for k in range(len(point)):
        total += point[k]
    threshold = (total - 1.0) / len(point)
    active = len(point) + 1
    while True:
        total = 0.0
        count = 0
        for k in range(len(point)):
            if point[k] > threshold:
                total += point[k]
                count += 1
        if count == 0 or count == active:
            break
        active = count
        threshold = (total - 1.0) / count
    for k in range(len(point)):
        nearest[k] = max(point[k] - threshold, 0.0)


@compiled_strictly
def prices_at(labels: np.ndarray, prior: np.ndarray, fairness_weight: float, prices: np.ndarray) -> bool:
    """p_k = λ u_k / ȳ_k, so that λ M u_k S_ik = p_k y_ik; False if a cluster is empty."""
    prices[:] = 0.0
    for i in range(labels.shape[0]):
        for k in range(labels.shape[1]):
            prices[k] += np.float64(labels[i, k])
    for k in range(labels.shape[1]):
        if not prices[k] > 0.0:
            return False
        prices[k] = fairness_weight * prior[k] * labels.shape[0] / prices[k]
    return True
