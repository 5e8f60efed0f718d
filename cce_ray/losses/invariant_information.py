"""Invariant information clustering: Ji, Henriques & Vedaldi, ICCV 2019, equations (2) to (4)."""

import torch

from cce_ray.losses.precision import floored_log, widened


def invariant_information_loss(joint: torch.Tensor, entropy_weight: float = 1.0) -> torch.Tensor:
    """Minus the mutual information of the clusters of two views of a sample, a scalar in nats.

    -Σ_cd P_cd (ln P_cd - entropy_weight (ln P_c + ln P_d)) of the symmetrised joint distribution. With
    weight 1 it is -I(c, c') >= -ln K, reached when both views are one-hot, equal and balanced; a larger
    weight asks more for balance.

    Args:
        joint: (K, K), the mean over samples of σ(x) σ(x')ᵀ; need not be symmetric.
    """
    (joint,) = widened(joint)
    joint = (joint + joint.T) / 2
    rows, columns = floored_log(joint.sum(1, keepdim=True)), floored_log(joint.sum(0, keepdim=True))
    return -(joint * (floored_log(joint) - entropy_weight * (rows + columns))).sum()
