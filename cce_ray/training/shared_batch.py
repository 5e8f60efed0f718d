"""What a loss needs of a batch that several ranks share, so that it does not depend on their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from cce_ray.training.ranks import Ranks, share_sizes


@final
@dataclass(frozen=True)
class SharedBatch:
    """A batch of `count` samples (B), of which this rank has the `own` rows (b).

    A rank's loss weighs b / B, as a mean over its own rows should, and the update takes the sum of all ranks'
    gradients.
    """

    ranks: Ranks
    own: slice
    count: int

    def mean(self, rows: Tensor) -> Tensor:
        """See `Step.mean`: the value is the whole batch's, the gradient goes to this rank's rows."""
        own = rows.mean(0)
        sums = self.ranks.gather(rows.detach().sum(0, keepdim=True), [1] * self.ranks.size)
        return own + (sums.sum(0) / self.count - own).detach()

    def whole(self, rows: Tensor) -> Tensor:
        """See `Step.whole`: a loss of all B rows weighs b / B too, and takes B / b of its gradient here."""
        sizes = share_sizes(self.count, self.ranks.size)
        parts = list(self.ranks.gather(rows.detach(), sizes).split(sizes))
        times = self.count / len(rows)
        parts[self.ranks.rank] = times * rows + (1 - times) * rows.detach()
        return torch.cat(parts)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """See `Step.normal`: the own rows of numbers that all ranks draw alike."""
        return torch.randn((self.count, *shape[1:]))[self.own]
