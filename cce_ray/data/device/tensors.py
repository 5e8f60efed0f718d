"""NumPy arrays as tensors of the same memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """The memory of ``array`` as a tensor on the CPU, without a copy.

    Arrays out of Ray's object store or of a file mapped for reading are read-only, of which torch knows
    nothing and warns. Here it does not: callers only read, for a write into such a tensor ends the process or
    changes what other processes see.
    """
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Unmarked(array)))


class _Unmarked:
    """The memory of a read-only array without the mark."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # Keeps the memory alive.
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
