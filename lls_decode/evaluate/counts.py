"""Counts of any number of values in constant memory: quantiles, histograms, and counts along long axes.

Values are counted by the leading bits of their float32, whose order is that of the values once the sign is taken into
account. So no range has to be known beforehand, and bins are 0.2 % wide wherever a value lies.
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
    """Range, mean, quantiles and histograms of values added piece by piece, in 2 MB of memory."""

    def __init__(self) -> None:
        self.num = 0
        """Number of finite values."""
        self.num_unknown = 0
        """Number of values that are NaN or infinite."""
        self.low = np.inf
        self.high = -np.inf
        self._sum = 0.0
        self._counts = np.zeros(1 << _BITS, dtype=np.int64)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count values, after rounding them to float32."""
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
        # flip all bits of negative numbers, and the sign of positive ones: integers then have the order of the values
        ordered = (bits ^ ((bits >> 31) | _SIGN.view(np.int32))).view(np.uint32)
        self._counts += np.bincount((ordered >> _DROPPED).astype(np.intp), minlength=len(self._counts))

    @property
    def mean(self) -> float:
        """Mean of the values; NaN without values."""
        return self._sum / self.num if self.num else np.nan

    def quantile(self, share: float) -> float:
        """Return the value below which a share of the values lies, within 0.2 % of itself; NaN without values."""
        if not self.num:
            return np.nan
        edges, below = self._cumulative()
        return float(np.interp(share * self.num, below, edges))

    def histogram(self, edges: npt.ArrayLike) -> Floats:
        """Return the number of values between neighbouring edges; bins that an edge cuts are divided evenly."""
        if not self.num:
            return np.zeros(np.size(edges) - 1)
        own_edges, below = self._cumulative()
        return np.diff(np.interp(np.asarray(edges, dtype=np.float64), own_edges, below, left=0.0))

    def _cumulative(self) -> tuple[Floats, Floats]:
        """Return the edges of the occupied bins, and how many values lie below each edge."""
        held = np.flatnonzero(self._counts)
        bins = np.arange(held[0], held[-1] + 2, dtype=np.uint32)
        ordered = bins << _DROPPED
        bits = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered)
        edges = np.clip(bits.view(np.float32).astype(np.float64), self.low, self.high)
        return edges, np.concatenate([[0.0], np.cumsum(self._counts[held[0] : held[-1] + 1])])


class FoldedCounts:
    """Counts of rows along an axis of unknown length (volumes).

    The number of bins is limited; their width grows to 1, 2, 4, 8, ... numbers.
    """

    def __init__(self, most_bins: int = 1024) -> None:
        self.width = 1
        """Width of a bin in numbers."""
        self._counts = np.zeros(most_bins, dtype=np.int64)

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Count numbers of 0 and above."""
        if not len(numbers):
            return
        most, last = len(self._counts), int(numbers.max())
        while last // self.width >= most:
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros(most // 2, np.int64)])
            self.width *= 2
        self._counts += np.bincount(np.asarray(numbers, dtype=np.int64) // self.width, minlength=most)

    @property
    def counts(self) -> Integers:
        """Counts of the bins, up to the last occupied one."""
        held = np.flatnonzero(self._counts)
        return self._counts[: held[-1] + 1].copy() if len(held) else self._counts[:0].copy()


class FieldCounts:
    """Counts of rows over the camera's field, in at most 256 x 256 square bins of whole pixels; (rows, columns)."""

    def __init__(self, height: int, width: int, *, most_bins: int = 256) -> None:
        self.bin_px = -(-max(height, width) // most_bins)
        self.counts = np.zeros((-(-height // self.bin_px), -(-width // self.bin_px)), dtype=np.int64)

    def add(self, x_px: npt.NDArray[Any], y_px: npt.NDArray[Any]) -> None:
        """Count pixels by column and row; pixels outside the field are ignored."""
        row, column = (np.floor_divide(value, self.bin_px).astype(np.int64) for value in (y_px, x_px))
        inside = (row >= 0) & (row < self.counts.shape[0]) & (column >= 0) & (column < self.counts.shape[1])
        place = row[inside] * self.counts.shape[1] + column[inside]
        self.counts += np.bincount(place, minlength=self.counts.size).reshape(self.counts.shape)
