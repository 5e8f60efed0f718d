"""Arrays and tensors at the door: NumPy views of what comes in, and the way back to the caller's kind."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Restore = Callable[[np.ndarray], Any]


def to_array(values: Any, name: str) -> tuple[np.ndarray, Restore]:
    """A NumPy array of `values` and the function that turns a result into the kind of `values`.

    NumPy arrays and torch CPU tensors enter and leave without a copy; bfloat16 becomes float32; tensors on
    another device go through the host and the result goes back to that device.

    Args:
        values: array, tensor or nested sequence.
        name: the argument's name, for the error.

    Raises:
        ValueError: `values` is neither an array nor can it be made one.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        device = values.device
        host = values.detach().cpu()
        if host.dtype == torch.bfloat16:
            host = host.float()
        if device.type == "cpu":
            return host.numpy(), torch.from_numpy
        return host.numpy(), lambda result: torch.from_numpy(result).to(device)
    try:
        return np.asarray(values), _unchanged
    except ValueError as error:
        raise ValueError(f"{name}: not a rectangular array ({error}); give an array or a tensor") from None


def _unchanged(result: np.ndarray) -> np.ndarray:
    return result


def to_floating(values: np.ndarray, name: str) -> np.ndarray:
    """float32 or float64, C-contiguous, native byte order; float16 becomes float32.

    Raises:
        ValueError: not a floating type.
    """
    if values.dtype.kind != "f":
        raise ValueError(
            f"{name}: dtype {values.dtype} is not a floating type; give probabilities as float32"
        )
    wanted = np.float64 if values.dtype.itemsize >= 8 else np.float32
    return np.ascontiguousarray(values, dtype=wanted)
