"""Counts of any number of values in memory that does not grow: quantiles, histograms, and counts over long axes.

Values are counted by the leading bits of their float32, which are in the order of the values once the sign is folded
in: no range has to be known beforehand, and a bin is 0.2 % wide wherever a value lies.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BITS: Final = 18
"""Sign, exponent, and nine bits of the mantissa."""
_DROPPED: Final = np.uint32(32 - _BITS)
_SIGN: Final = np.uint32(0x8000_0000)


class ValueCounts:
    """Range, mean, quantiles and histograms of values that come piece by piece; 2 MB."""

    def __init__(self) -> None:
        self.num = 0
        """Finite values."""
        self.num_unknown = 0
        """Values that are NaN or infinite."""
        self.low = np.inf
        self.high = -np.inf
        self._sum = 0.0
        self._counts = np.zeros(1 << _BITS, dtype=np.int64)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count values; they are rounded to float32."""
        known = np.asarray(values, dtype=np.float32)
        finite = np.isfinite(known)
        if not finite.all():
            known = known[finite]
            self.num_unknown += len(values) - len(known)
        if not len(known):
            return
        self.num += len(known)
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        self._sum += float(known.sum(dtype=np.float64))
        bits = np.ascontiguousarray(known).view(np.int32)
        # all bits of a negative number are turned around, of a positive one the sign: the order is that of the values
        ordered = (bits ^ ((bits >> 31) | _SIGN.view(np.int32))).view(np.uint32)
        self._counts += np.bincount((ordered >> _DROPPED).astype(np.intp), minlength=len(self._counts))

    @property
    def mean(self) -> float:
        """NaN when there are none."""
        return self._sum / self.num if self.num else np.nan

    def quantile(self, share: float) -> float:
        """Value below which a share of the values lies, within 0.2 % of itself; NaN when there are none."""
        if not self.num:
            return np.nan
        edges, below = self._cumulative()
        return float(np.interp(share * self.num, below, edges))

    def histogram(self, edges: npt.ArrayLike) -> Floats:
        """Values between neighbouring edges; those of a bin that an edge divides are divided evenly."""
        if not self.num:
            return np.zeros(np.size(edges) - 1)
        own_edges, below = self._cumulative()
        return np.diff(np.interp(np.asarray(edges, dtype=np.float64), own_edges, below, left=0.0))

    def _cumulative(self) -> tuple[Floats, Floats]:
        """Edges of the bins that hold anything, and how many values lie below each."""
        held = np.flatnonzero(self._counts)
        bins = np.arange(held[0], held[-1] + 2, dtype=np.uint32)
        ordered = bins << _DROPPED
        bits = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered)
        edges = np.clip(bits.view(np.float32).astype(np.float64), self.low, self.high)
        return edges, np.concatenate([[0.0], np.cumsum(self._counts[held[0] : held[-1] + 1])])


class FoldedCounts:
    """Rows over an axis of unknown length (volumes), in at most so many bins of 1, 2, 4, 8, ... numbers."""

    def __init__(self, most_bins: int = 1024) -> None:
        self.width = 1
        """Numbers that share a bin."""
        self._counts = np.zeros(most_bins, dtype=np.int64)

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Count numbers from 0 on."""
        if not len(numbers):
            return
        most, last = len(self._counts), int(numbers.max())
        while last // self.width >= most:
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros(most // 2, np.int64)])
            self.width *= 2
        self._counts += np.bincount(np.asarray(numbers, dtype=np.int64) // self.width, minlength=most)

    @property
    def counts(self) -> Integers:
        """Of each bin, up to the last one that holds anything."""
        held = np.flatnonzero(self._counts)
        return self._counts[: held[-1] + 1].copy() if len(held) else self._counts[:0].copy()


class FieldCounts:
    """Rows over the camera's field, in square bins of whole pixels; (rows, columns) of bins, at most 256 a side."""

    def __init__(self, height: int, width: int, *, most_bins: int = 256) -> None:
        self.bin_px = -(-max(height, width) // most_bins)
        self.counts = np.zeros((-(-height // self.bin_px), -(-width // self.bin_px)), dtype=np.int64)

    def add(self, x_px: npt.NDArray[Any], y_px: npt.NDArray[Any]) -> None:
        """Count pixels by column and row; those outside the field are left out."""
        row, column = (np.floor_divide(value, self.bin_px).astype(np.int64) for value in (y_px, x_px))
        inside = (row >= 0) & (row < self.counts.shape[0]) & (column >= 0) & (column < self.counts.shape[1])
        place = row[inside] * self.counts.shape[1] + column[inside]
        self.counts += np.bincount(place, minlength=self.counts.size).reshape(self.counts.shape)
