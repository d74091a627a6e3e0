"""Extent of a picture: that of the rows without strays, which are left out and reported.

A single row far away would give a picture that is nearly all dark, and larger than any disk. Positions are counted in
bins along each axis, so memory depends on neither the number of rows nor the size of the picture.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Limits = tuple[float, float]

_BIN_NM: Final = 1000.0
_MOST_BINS: Final = 1 << 16
"""Number of bins above which bins are made twice as wide."""
_LAST_BIN: Final = 2.0**61
_LEAST_REACH_NM: Final = 10_000.0
"""Distance to the other rows below which a row is never a stray; nor is it if it is nearer than the others spread."""
_FEW_ROWS, _FEW_SHARE = 5, 1e-3
"""Number of rows, or share of all rows, up to which rows far from the others are strays."""
_LARGEST_SHARE: Final = 0.05
"""Largest share of strays; among fewer than 20 rows it is undecidable which one is the stray."""
_ABSURD_REACHES, _ABSURD_SHARE = 100.0, 0.1
"""Distance, in units of the spread of the other rows, beyond which a larger share of rows also counts as strays."""
_FIELD_MARGIN: Final = 0.1
_FIELD_SHARE: Final = 0.99
"""Share of a table's rows that must lie in its field of view for this to be used; after joining fewer may."""
_MOST_EXAMPLES: Final = 3


@dataclass(frozen=True)
class _Run:
    """Successive bins without a large gap."""

    num: int
    low: float
    high: float

    def away_from(self, other: "_Run") -> float:
        return max(self.low - other.high, other.low - self.high, 0.0)


class Spread:
    """Distribution of a table's rows along one axis."""

    def __init__(self) -> None:
        self._width = _BIN_NM
        self._bins = np.zeros(0, dtype=np.int64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._lows, self._highs = np.zeros(0), np.zeros(0)

    def add(self, values: Floats) -> None:
        """Count values in nm; values that are not finite are ignored."""
        known = np.sort(values[np.isfinite(values)])
        if not len(known):
            return
        bins = np.clip(np.floor(known / self._width), -_LAST_BIN, _LAST_BIN).astype(np.int64)
        first = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        stop = np.append(first[1:], len(bins))
        self._merge(bins[first], stop - first, known[first], known[stop - 1])

    @property
    def num(self) -> int:
        """Number of finite values."""
        return int(self._counts.sum())

    def limits(self) -> Limits:
        """Return the smallest and largest value; (inf, -inf) without values."""
        return float(self._lows.min(initial=math.inf)), float(self._highs.max(initial=-math.inf))

    def usual_limits(self, field_nm: Limits | None = None) -> Limits:
        """Return the smallest and largest value without strays.

        Parameters
        ----------
        field_nm
            Limits of what the camera saw, if known. A row outside of these limits, widened by a tenth on both sides, is
            a stray. If more than a hundredth of all rows are outside, the table also has rows of another field, and
            strays are found as without a field: as a few rows that are farther from all others than those spread.
        """
        if not self.num:
            return self.limits()
        if field_nm is not None:
            margin = max(_FIELD_MARGIN * (field_nm[1] - field_nm[0]), 2 * _BIN_NM)
            inside = (self._highs >= field_nm[0] - margin) & (self._lows <= field_nm[1] + margin)
            if self._counts[inside].sum() >= _FIELD_SHARE * self.num:
                return float(self._lows[inside].min()), float(self._highs[inside].max())
        runs, reach = self._runs(_LEAST_REACH_NM), _LEAST_REACH_NM
        most = max(runs, key=lambda run: run.num)
        reach = max(most.high - most.low, reach)
        runs = self._runs(reach)
        most = max(runs, key=lambda run: run.num)
        few = min(max(_FEW_ROWS, _FEW_SHARE * self.num), _LARGEST_SHARE * self.num)
        kept = [
            run for run in runs
            if run.num > few
            and (run.num >= _ABSURD_SHARE * self.num or run.away_from(most) <= _ABSURD_REACHES * reach)
        ]  # fmt: skip
        return min(run.low for run in (*kept, most)), max(run.high for run in (*kept, most))

    def _runs(self, gap: float) -> list[_Run]:
        first = np.flatnonzero(np.append(True, self._lows[1:] - self._highs[:-1] > gap))
        counts = np.add.reduceat(self._counts, first)
        last = np.append(first[1:], len(self._bins)) - 1
        return [
            _Run(int(num), float(low), float(high))
            for num, low, high in zip(counts, self._lows[first], self._highs[last], strict=True)
        ]

    def _merge(self, bins: Any, counts: Any, lows: Any, highs: Any) -> None:
        bins = np.concatenate([self._bins, bins])
        order = np.argsort(bins, kind="stable")
        bins = bins[order]
        first = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        self._bins = bins[first]
        self._counts = np.add.reduceat(np.concatenate([self._counts, counts])[order], first)
        self._lows = np.minimum.reduceat(np.concatenate([self._lows, lows])[order], first)
        self._highs = np.maximum.reduceat(np.concatenate([self._highs, highs])[order], first)
        while len(self._bins) > _MOST_BINS:
            self._width *= 2
            halves, self._bins = self._bins >> 1, np.zeros(0, dtype=np.int64)
            parts = self._counts, self._lows, self._highs
            self._counts, self._lows, self._highs = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
            self._merge(halves, *parts)


class LeftOut:
    """Rows that a picture does not show, because they have no position or lie outside its limits."""

    def __init__(self) -> None:
        self.num_nowhere = 0
        """Number of rows with a coordinate that is not finite."""
        self.num_beyond = 0
        self.examples: list[tuple[float, ...]] = []
        """Coordinates of the first few rows outside, along the axes of the picture."""

    def look(self, places: tuple[Floats, ...], limits: tuple[Limits, ...]) -> None:
        """Count the rows that are left out, by their coordinates in nm along the axes of the picture."""
        known, inside = np.ones((2, len(places[0])), dtype=np.bool_)
        for place, (low, high) in zip(places, limits, strict=True):
            known &= np.isfinite(place)
            inside &= (place >= low) & (place < high)
        beyond = np.flatnonzero(known & ~inside)
        self.num_nowhere += int(np.count_nonzero(~known))
        self.num_beyond += len(beyond)
        for row in beyond[: _MOST_EXAMPLES - len(self.examples)]:
            self.examples.append(tuple(float(place[row]) for place in places))
