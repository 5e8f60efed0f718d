"""Arrays and tensors at the door: NumPy views of what comes in, and the way back to the caller's kind."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Restore = Callable[[np.ndarray], Any]

_LONGEST = 120


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
        try:
            host = values.detach().cpu()
            array = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
        except (TypeError, NotImplementedError) as error:  # sparse, or without data
            raise ValueError(f"{name}: {one_line(error)}; give a dense tensor") from None
        if device.type == "cpu":
            return array, torch.from_numpy
        return array, lambda result: torch.from_numpy(result).to(device)
    try:
        return np.asarray(values), _unchanged
    except ValueError as error:
        raise ValueError(
            f"{name}: not a rectangular array ({one_line(error)}); give an array or a tensor"
        ) from None


def one_line(value: object) -> str:
    """`value` for a message: one line, cut where it is long."""
    text = " ".join((str(value) if isinstance(value, Exception) else repr(value)).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _unchanged(result: np.ndarray) -> np.ndarray:
    return result


def to_floating(values: np.ndarray, name: str) -> np.ndarray:
    """float32 or float64, as `for_kernels` makes them; float16 becomes float32.

    Raises:
        ValueError: not a floating type.
    """
    if values.dtype.kind != "f":
        raise ValueError(
            f"{name}: dtype {values.dtype} is not a floating type; give probabilities as float32"
        )
    return for_kernels(values, np.float64 if values.dtype.itemsize >= 8 else np.float32)


def for_kernels(values: np.ndarray, dtype: type) -> np.ndarray:
    """`values` as the kernels are compiled for: C-contiguous, aligned, of this type and not read-only.

    A read-only array (from Ray's store, a memory map, pandas) is not copied: its memory gets a second view,
    which no kernel writes to, because Numba would compile every kernel once more, for seconds.
    """
    array = np.require(values, dtype, ["C", "A"])
    return array if array.flags.writeable else np.asarray(_Unlocked(array))


class _Unlocked:
    """The memory of a read-only array without the mark."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # keeps the memory alive
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
