"""What one estimation is about: the predictions, the prior, λ and the rows that are already known."""

from dataclasses import dataclass
from typing import final

import numpy as np

# Rows per block. Partial sums belong to blocks and are added in block order, so the number of threads that
# share the blocks cannot change a bit of the result. Changing this constant changes the last bits.
BLOCK_ROWS = 64

# Cluster means are floored here before a division or a logarithm. It only matters when a caller's start
# leaves a cluster empty.
MEAN_FLOOR = 1e-290

# For KL(ȳ‖u), whose price of a cluster grows only like -ln ȳ_k, a share below this counts as this much. It
# can cost λ·1e-14 of the objective; the certificate takes it into account.
EMPTY_SHARE = 1e-14

# Logarithms of σ and of σᵀy are floored at this argument, so that a known label on a class with σ_k = 0
# costs much and not infinitely much.
LOG_FLOOR = float(np.finfo(np.float64).tiny)

# σᵀy in a denominator of projected gradient descent: a row that misses its σ has an infinite slope,
# which no line search can use.
HIT_FLOOR = 1e-12

# The default start y = σ is lifted to this value: softmax underflows to exact zeros, and the M-step can
# never leave an exact zero (Property 1).
START_FLOOR = 1e-8


# Blocks are added up in groups, at most so many, which is all that travels where a problem is spread over
# processes. Changing this constant changes the last bits of large problems.
_MOST_GROUPS = 256


def blocks_of(num_points: int) -> int:
    """How many blocks of rows there are."""
    return -(-num_points // BLOCK_ROWS)


def group_blocks(num_points: int) -> int:
    """Blocks of a group."""
    return -(-blocks_of(num_points) // _MOST_GROUPS)


def group_rows(num_points: int) -> int:
    """Points of a group: a process that shares a problem holds whole groups."""
    return group_blocks(num_points) * BLOCK_ROWS


def num_groups(num_points: int) -> int:
    """Groups of a problem: more processes than these cannot share it."""
    return -(-num_points // group_rows(num_points))


@final
@dataclass(frozen=True, eq=False, slots=True)
class Problem:
    """One pseudo-label problem, its input already checked."""

    probs: np.ndarray
    """σ, (M, K), float32 or float64, C-contiguous; rows sum to one."""
    prior: np.ndarray
    """u, (K,), float64; sums to one."""
    fairness_weight: float
    """λ of (11), (10) or (5)."""
    known: np.ndarray
    """(M,), int64; the class of a known row, -1 elsewhere."""
    prior_slack: float = 0.0
    """ε >= 0; a cluster's share may be anywhere within u_k (1 ± ε), free of charge."""

    @property
    def num_points(self) -> int:
        return int(self.probs.shape[0])

    @property
    def num_clusters(self) -> int:
        return int(self.probs.shape[1])

    @property
    def num_blocks(self) -> int:
        return blocks_of(self.num_points)
