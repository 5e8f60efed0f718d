"""How many bits the pictures of more than 8 bits in a data set use: one answer for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from cce_ray.data.storage.image_files import DeepType, Picture

_DEPTHS = (8, 10, 12, 14, 16)
_COLOUR: DeepType = "depth_16_bit_colour"
_BRIGHT = 128
"""Of 16-bit colour only the upper 8 bits can be read; without any from here on, fewer than 16 are in use."""


@final
@dataclass
class DeepPictures:
    """The deep pictures among the files that have been decoded."""

    rows: dict[DeepType, list[int]] = field(default_factory=dict)
    largest: dict[DeepType, int] = field(default_factory=dict)

    def add(self, row: int, picture: Picture) -> None:
        """Remember a picture if it is deep."""
        kind = picture.deep_type
        if kind is not None:
            self.rows.setdefault(kind, []).append(row)
            self.largest[kind] = max(self.largest.get(kind, 0), picture.largest)

    def find_depths(self, given: Mapping[str, int]) -> dict[DeepType, int]:
        """{pixel type: the smallest depth that holds its largest value} of the types that are not `given`."""
        return {
            kind: next(depth for depth in _DEPTHS if largest < 1 << depth) if kind != _COLOUR else 16
            for kind, largest in self.largest.items()
            if kind not in given and kind not in self._too_dark(given)
        }

    def failures(self, given: Mapping[str, int]) -> dict[int, str]:
        """{row: reason} of colour pictures that would lose what they show."""
        reason = "16-bit colour without values above 32767; save as 8 bits or set data.depth_16_bit_colour=16"
        return {row: reason for kind in self._too_dark(given) for row in self.rows[kind]}

    def notes(self, depths: Mapping[DeepType, int]) -> tuple[str, ...]:
        """One line for every pixel type in `depths` that uses fewer than 16 bits or loses some."""
        notes = []
        for kind, depth in sorted(depths.items()):
            if kind == _COLOUR:
                count = len(self.rows[kind])
                notes.append(
                    f"of 16-bit colour ({count} file{'s' if count > 1 else ''}) the upper 8 bits are used"
                )
            elif depth < 16:
                bits, largest = kind.split("_")[1], self.largest[kind]
                how = "scaled to 8 bits from there" if depth > 8 else "used as they are"
                notes.append(f"{bits}-bit images use {depth} bits (largest value {largest}): {how}")
        return tuple(notes)

    def _too_dark(self, given: Mapping[str, int]) -> tuple[DeepType, ...]:
        dark = _COLOUR not in given and self.largest.get(_COLOUR, _BRIGHT) < _BRIGHT
        return (_COLOUR,) if dark else ()
