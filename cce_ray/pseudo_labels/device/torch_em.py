"""The paper's EM (14), (16) in plain torch: the fallback of `device.em` where Triton does not run.

The arithmetic is that of the labels' type, row by row that of `reference.em.m_step_reference` with Newton's
method in place of bisection. The host waits for nothing: where a limit was met, the rest of the iterations
changes nothing. On a CPU, where looking costs nothing, the loops end there.
"""

import torch
from torch import Tensor

from cce_ray.pseudo_labels.problem import START_FLOOR

# Newton's steps in an iteration; ten are the most seen. A row that needs more goes on in the next iteration.
NEWTON_STEPS = 16


@torch.no_grad()
def em(
    probs: Tensor,
    wanted: Tensor,
    known: Tensor | None,
    init: Tensor | None,
    max_iterations: int,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """EM on any device.

    Args:
        probs: σ, (M, K), any floating type.
        wanted: λ u, (K,).
        known: (M,), the class of a known row, -1 elsewhere.
        init: the start, (M, K), or None for σ.
        max_iterations, tolerance: when to stop.

    Returns:
        y, (M, K), the number of iterations and the last max |Δy|; float64 for float64, else float32.
    """
    dtype = torch.float64 if probs.dtype == torch.float64 else torch.float32
    labels = _start(probs if init is None else init, START_FLOOR if init is None else 0.0, dtype, known)
    deficits = _deficits(probs.to(dtype).contiguous())
    roots = labels.new_full((len(labels), 1), torch.inf)
    iterations = torch.zeros((), dtype=torch.int32, device=probs.device)
    change = torch.full((), torch.inf, dtype=dtype, device=probs.device)
    done = torch.zeros((), dtype=torch.bool, device=probs.device)
    for _ in range(max_iterations):
        new, roots = _m_step(labels, deficits, roots, _prices(labels, wanted))
        if known is not None:
            new = torch.where(known[:, None] >= 0, labels, new)
        change = torch.where(done, change, (new - labels).abs().amax())
        labels = torch.where(done, labels, new)
        iterations += ~done
        done = change <= tolerance
        if _is_known_to_be(done):
            break
    return labels, iterations, change


def _is_known_to_be(flag: Tensor) -> bool:
    """Whether the flag is set, if that can be told without waiting for a device."""
    return flag.device.type == "cpu" and bool(flag)


def _start(values: Tensor, floor: float, dtype: torch.dtype, known: Tensor | None) -> Tensor:
    """The values lifted to `floor` and normalised; one-hot in known rows."""
    lifted = values.to(dtype).contiguous().clamp(min=floor)
    labels = lifted / lifted.sum(dim=1, keepdim=True)
    if known is not None:
        classes = torch.arange(labels.shape[1], device=labels.device)
        labels = torch.where(known[:, None] >= 0, (known[:, None] == classes).to(dtype), labels)
    return labels


def _deficits(probs: Tensor) -> Tensor:
    """1 - r_k = (σ_max - σ_k) / σ_max, exactly 0 at the maximum."""
    peak = probs.amax(dim=1, keepdim=True)
    return (peak - probs) / peak


def _prices(labels: Tensor, wanted: Tensor) -> Tensor:
    """p_k = λ u_k / ȳ_k, finite, and positive where u_k is."""
    info = torch.finfo(labels.dtype)
    mean = labels.sum(dim=0, dtype=wanted.dtype) / len(labels)
    prices = (wanted / mean.clamp(min=info.tiny)).clamp(info.tiny, info.max**0.8).to(labels.dtype)
    return torch.where(wanted > 0, prices, 0.0)


def _m_step(labels: Tensor, deficits: Tensor, root: Tensor, prices: Tensor) -> tuple[Tensor, Tensor]:
    """(16): the new y, (M, K), and the new roots, (M, 1): d or, where that is smaller, -t."""
    tiny = torch.finfo(labels.dtype).tiny
    positive = (labels > 0) & (prices > 0)
    weights = torch.where(positive, (labels * prices).clamp(min=tiny), 0.0)
    top = weights.sum(dim=1, keepdim=True)
    # d is beyond the sum over the classes that tie for the largest σ.
    bound = torch.where(deficits == 0, weights, 0.0).sum(dim=1, keepdim=True)
    scale, top, low = 1 + top, torch.maximum(top, bound), torch.ones_like(top)
    # The supplement's case: a top class without weight takes what the others leave at d = 0.
    left = 1 - (weights * (1 - deficits) / (bound + deficits).clamp(min=tiny)).sum(dim=1, keepdim=True)
    closed = (bound == 0) & (left >= 0)
    top, low = torch.where(closed, 0.0, top), torch.where(closed, scale, low)
    d, t = _newton(weights, deficits, root, scale, bound, top, low)

    shares = weights / (d + t * deficits).clamp(min=tiny)
    heir = deficits.argmin(dim=1, keepdim=True)
    shares.scatter_(1, heir, torch.where(closed, left / scale, shares.gather(1, heir)))
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=tiny)
    return torch.where(positive, shares.clamp(min=tiny), shares), torch.where(d < t, d, -t)


def _newton(
    weights: Tensor,
    deficits: Tensor,
    root: Tensor,
    scale: Tensor,
    bound: Tensor,
    top: Tensor,
    low: Tensor,
) -> tuple[Tensor, Tensor]:
    """Roots d of t Σ_k a_k r_k / (d + t (1-r_k)) = 1 in [bound, top], and t = S - d >= low.

    This is h(d) = 1 without the large terms that cancel: S (h - 1) is the left side minus 1, as S - A = 1.
    With d and t carried side by side, single precision keeps its digits at any λ. Newton's steps are those on
    d (1 - h(d)), which is convex, and linear where one class dominates: at most one step passes the root,
    then they come down to it from the right.
    """
    double = weights.dtype == torch.float64
    tiny, short, exact = torch.finfo(weights.dtype).tiny, 1e-5 if double else 3e-4, 1e-13 if double else 1e-6
    high = scale - bound
    d = torch.minimum(torch.maximum(torch.where(root >= 0, root, scale + root), bound), top)
    t = torch.minimum(torch.maximum(torch.where(root >= 0, scale - root, -root), low), high)
    for _ in range(NEWTON_STEPS):
        factors = (1 - deficits) / (d + t * deficits).clamp(min=tiny)
        terms = weights * factors
        height, curve = terms.sum(dim=1, keepdim=True), (terms * factors).sum(dim=1, keepdim=True)
        excess = t * height - 1
        steepness = d * height + t * (d * curve) - excess
        step = torch.where(steepness > 0, d * excess / steepness.clamp(min=tiny), scale)
        moved = torch.minimum(torch.maximum(d + step, bound), top)
        near = (excess.abs() <= exact) | ((moved - d).abs() <= short * d)
        d, t = moved, torch.minimum(torch.maximum(t - step, low), high)
        if _is_known_to_be(near.all()):
            break
    return d, t
