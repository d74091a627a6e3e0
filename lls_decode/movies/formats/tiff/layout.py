"""Pixel layout of a TIFF page, from the values of its tags."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

WIDTH, HEIGHT, BITS = 256, 257, 258
_PLAIN_BITS = (8, 16, 32, 64)
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2


@dataclass(frozen=True)
class PixelLayout:
    """Pixel layout of a page: size, data type and encoding."""

    tags: tuple[tuple[int, tuple[int, ...]], ...]
    is_scattered: bool = False
    """Whether the strips of a page do not follow each other without gaps, so that they are read one by one."""

    def get(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        return next((values[0] for number, values in self.tags if number == tag and values), default)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.get(HEIGHT, 0), self.get(WIDTH, 0)

    @cached_property
    def samples(self) -> int:
        """Number of values per pixel; more than one for colours. The number of bits is stated once per value."""
        bits = next((values for number, values in self.tags if number == BITS), ())
        return max(self.get(277, 1) * self.get(32997, 1), len(bits))

    @cached_property
    def bits(self) -> int:
        """Number of bits of one value."""
        return self.get(BITS, 1)

    @cached_property
    def is_white_zero(self) -> bool:
        """Whether the file is to be displayed inverted, with zero as white."""
        return self.get(262, 1) == 0

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Data type of one value in native byte order; 10 to 14 bits are returned as 16 bits."""
        bits, kind = self.bits, {1: "u", 2: "i", 3: "f", 5: "c", 6: "c"}.get(self.get(339, 1), "u")
        size = next((n for n in _PLAIN_BITS if bits <= n), 64) // 8
        if bits == 1:
            return np.dtype(bool)
        return np.dtype(f"{kind}{bits // 8 if kind == 'c' else size}")

    @cached_property
    def frame_bytes(self) -> int:
        """Number of bytes of an uncompressed frame."""
        return self.shape[0] * self.shape[1] * self.samples * self.dtype.itemsize

    @cached_property
    def is_plain(self) -> bool:
        """Whether the strips of a page are its uncompressed pixels."""
        as_is = self.get(259, 1) == 1 and self.get(317, 1) == 1 and self.get(266, 1) == 1 and not self.is_scattered
        return as_is and self.samples == 1 and self.bits in _PLAIN_BITS and not self.get(322, 0)

    @cached_property
    def strip_bytes(self) -> int:
        """Number of bytes of an uncompressed strip; the last one may be shorter."""
        rows = min(self.get(278, self.shape[0]), self.shape[0])
        return rows * self.shape[1] * self.samples * self.dtype.itemsize

    def most(self, size: int) -> int:
        """Return how many of the ``size`` bytes of one or all strips can be pixels; the others are padding."""
        if self.is_plain:
            return min(size, self.frame_bytes)
        return min(size, self.strip_bytes) if self.is_scattered else size

    @cached_property
    def is_aside(self) -> bool:
        """Whether a page is a reduced copy of another page, or a mask."""
        return bool(self.get(254, 0) & (_REDUCED | _MASK)) or self.get(255, 0) == _OLD_REDUCED

    @cached_property
    def alike(self) -> tuple[tuple[int, int], str, int]:
        """Shape, data type and samples, which must be the same for all frames of a movie."""
        return self.shape, str(self.dtype), self.samples
