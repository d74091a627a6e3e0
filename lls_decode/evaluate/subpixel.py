"""Sub-pixel bias: a preference of positions for a part of the pixel, an artefact of networks where they are unsure.

Speiser et al. (2021), Extended Data Fig. 8: large predicted sigmas pull positions towards pixel centres. No truth is
needed, but many molecules all over the field, since rows of one molecule are not independent.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import PixelSize

BINS = 20


@dataclass(frozen=True)
class SubpixelBias:
    """Histogram of positions within the pixel along one axis, from -0.5 to 0.5; 0 is the centre."""

    axis: str
    counts: tuple[int, ...]
    """Counts in equal bins from -0.5 to 0.5."""

    @property
    def num(self) -> int:
        """Number of rows."""
        return sum(self.counts)

    @property
    def largest_deviation(self) -> float:
        """Largest deviation of a bin from the mean, in units of the mean's Poisson error; 2 to 3 if flat."""
        if not self.num:
            return math.nan
        mean = self.num / len(self.counts)
        return float(np.abs(np.asarray(self.counts) - mean).max() / math.sqrt(mean))

    @property
    def modulation(self) -> float:
        """First harmonic relative to the mean: density 1 + modulation * cos(2 pi x) + ..., x in pixels.

        Positive values are towards pixel centres, negative ones towards pixel borders; 1 is complete modulation.
        """
        return self._harmonic.real

    @property
    def amplitude(self) -> float:
        """Amplitude of the first harmonic at any phase; about 1.3 times `modulation_error` for flat positions."""
        return abs(self._harmonic)

    @property
    def modulation_error(self) -> float:
        """Standard deviation of `modulation` for independent positions without preference."""
        return math.sqrt(2 / self.num) if self.num else math.nan

    @property
    def _harmonic(self) -> complex:
        if not self.num:
            return complex(math.nan, math.nan)
        centres = (np.arange(len(self.counts)) + 0.5) / len(self.counts) - 0.5
        smeared = float(np.sinc(1 / len(self.counts)))  # binning reduces the harmonic by this factor
        return complex(2 * np.dot(self.counts, np.exp(2j * math.pi * centres)) / self.num / smeared)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        names = ("num", "largest_deviation", "modulation", "modulation_error", "amplitude")
        return {"axis": self.axis, **{name: getattr(self, name) for name in names}, "counts": list(self.counts)}


class SubpixelCounts:
    """Counts of rows by position within the pixel, added piece by piece."""

    def __init__(self, pixel: PixelSize) -> None:
        self._size_nm = (pixel.x_nm, pixel.y_nm)
        self._counts = np.zeros((2, BINS), dtype=np.int64)

    def add(self, x_nm: npt.ArrayLike, y_nm: npt.ArrayLike) -> None:
        """Count positions in camera coordinates."""
        for counts, position, size_nm in zip(self._counts, (x_nm, y_nm), self._size_nm, strict=True):
            place = np.asarray(position, dtype=np.float64) / size_nm + 0.5
            place = place[np.isfinite(place)]
            number = np.minimum(((place - np.floor(place)) * BINS).astype(np.int64), BINS - 1)
            counts += np.bincount(number, minlength=BINS)

    def bias(self) -> tuple[SubpixelBias, SubpixelBias]:
        """Return the bias along x and y of the rows added so far."""
        x, y = (tuple(counts.tolist()) for counts in self._counts)
        return SubpixelBias("x", x), SubpixelBias("y", y)


def subpixel_bias(pieces: Iterable[Mapping[str, npt.ArrayLike]], pixel: PixelSize) -> tuple[SubpixelBias, SubpixelBias]:
    """Return the bias along x and y of rows given in pieces, with ``x_nm`` and ``y_nm`` in camera coordinates."""
    counts = SubpixelCounts(pixel)
    for piece in pieces:
        counts.add(piece["x_nm"], piece["y_nm"])
    return counts.bias()
