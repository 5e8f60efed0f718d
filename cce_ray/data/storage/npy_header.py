"""What precedes the numbers in the .npy format, checked against the size of the file."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import IO, BinaryIO, Literal, final

import numpy as np

_MAX_HEADER_BYTES = 10_000
"""As in numpy: its parser of Python literals is not safe with longer texts."""
_MAX_DIMENSIONS = 64
"""As in numpy."""


@final
@dataclass(frozen=True)
class NpyHeader:
    """What precedes the numbers of an array in the .npy format."""

    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int
    """Where the numbers begin."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def write(self, file: BinaryIO) -> None:
        """Write it anew, ``offset`` aside."""
        content = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": self.order == "F",
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(file, content)


def read_header(file: IO[bytes], size: int) -> NpyHeader:
    """The header of an array in a file, or member of an archive, of ``size`` bytes, whose numbers fill it.

    Raises ValueError with the bare reason, and whatever numpy's parser raises.
    """
    start = file.read(8)
    if start[:6] != np.lib.format.MAGIC_PREFIX:
        raise ValueError("it is not a .npy file")
    version = tuple(start[6:])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"its format has an unknown version, {'.'.join(map(str, version))}")
    length_bytes = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(length_bytes, "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"its header of {length} bytes is longer than those of arrays are")
    text = io.BytesIO(length_bytes + file.read(length))
    # Version 3 differs from 2 by names of fields beyond Latin-1 only.
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = parse(text, max_header_size=_MAX_HEADER_BYTES)
    if len(shape) > _MAX_DIMENSIONS or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("its header claims a shape that no array has")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, and nothing is ever unpickled")
    if not dtype.itemsize:
        raise ValueError("its numbers or texts have no bytes")
    header = NpyHeader(dtype, shape, "F" if fortran else "C", len(start) + len(text.getbuffer()))
    held = size - header.offset
    if header.num_bytes != held:
        relation = "fewer" if held < header.num_bytes else "more"
        raise ValueError(f"it holds {held} bytes after its header, {relation} than that claims")
    return header
