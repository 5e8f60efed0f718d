"""Tensors that share the memory of arrays, read-only ones included."""

import gc
import subprocess
import sys

import numpy as np
import pytest

from cce_ray.data.device.tensors import as_tensor


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.int64, np.bool_])
def test_a_read_only_array_is_shared(kind: type) -> None:
    array = np.arange(12).reshape(3, 4).astype(kind)
    array.flags.writeable = False
    tensor = as_tensor(array)
    assert tensor.data_ptr() == array.ctypes.data and tensor.shape == (3, 4)
    assert np.array_equal(tensor.numpy(), array)
    assert not array.flags.writeable


def test_strides_stay() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array.flags.writeable = False
    assert as_tensor(array.T[1:]).tolist() == array.T[1:].tolist()


def test_the_tensor_keeps_the_memory() -> None:
    tensor = as_tensor(np.frombuffer(np.arange(10**6, dtype=np.float32).tobytes(), np.float32))
    gc.collect()
    assert float(tensor[-1]) == 10**6 - 1


def test_a_writeable_array_stays_so() -> None:
    array = np.zeros(3, dtype=np.float32)
    as_tensor(array)[1] = 7
    assert array.tolist() == [0, 7, 0]


def test_torch_does_not_warn() -> None:
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import numpy as np\nfrom cce_ray.data.device.tensors import as_tensor\n"
        "as_tensor(np.frombuffer(bytes(80), np.float32)).sum()"
    )  # In a process of its own, because torch warns only once.
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
