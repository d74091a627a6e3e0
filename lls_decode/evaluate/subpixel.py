"""Whether positions prefer a part of the pixel: an artefact of networks where they are unsure.

Speiser et al. (2021), Extended Data Fig. 8: large predicted sigmas pull positions towards pixel centres. Needs no
truth, but many molecules all over the field: rows of one molecule are not independent.
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
    """Histogram of one axis over the part of the pixel, -0.5 to 0.5, 0 its centre."""

    axis: str
    counts: tuple[int, ...]
    """In equal bins from -0.5 to 0.5."""

    @property
    def num(self) -> int:
        """Rows."""
        return sum(self.counts)

    @property
    def largest_deviation(self) -> float:
        """Of a bin from the mean of all, in units of the Poisson error of the mean; about 2 to 3 when flat."""
        if not self.num:
            return math.nan
        mean = self.num / len(self.counts)
        return float(np.abs(np.asarray(self.counts) - mean).max() / math.sqrt(mean))

    @property
    def modulation(self) -> float:
        """First harmonic relative to the mean: density 1 + modulation * cos(2 pi x) + ..., x in pixels.

        Above 0 towards pixel centres, below 0 towards pixel borders; 1 is total.
        """
        return self._harmonic.real

    @property
    def amplitude(self) -> float:
        """Of the first harmonic whatever its phase; for flat positions about 1.3 times `modulation_error`."""
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
        smeared = float(np.sinc(1 / len(self.counts)))  # a bin holds the mean of its cosine
        return complex(2 * np.dot(self.counts, np.exp(2j * math.pi * centres)) / self.num / smeared)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = ("num", "largest_deviation", "modulation", "modulation_error", "amplitude")
        return {"axis": self.axis, **{name: getattr(self, name) for name in names}, "counts": list(self.counts)}


class SubpixelCounts:
    """Rows over the parts of the pixel, added piece by piece."""

    def __init__(self, pixel: PixelSize) -> None:
        self._size_nm = (pixel.x_nm, pixel.y_nm)
        self._counts = np.zeros((2, BINS), dtype=np.int64)

    def add(self, x_nm: npt.ArrayLike, y_nm: npt.ArrayLike) -> None:
        """Count positions in the camera's frame."""
        for counts, position, size_nm in zip(self._counts, (x_nm, y_nm), self._size_nm, strict=True):
            place = np.asarray(position, dtype=np.float64) / size_nm + 0.5
            place = place[np.isfinite(place)]
            number = np.minimum(((place - np.floor(place)) * BINS).astype(np.int64), BINS - 1)
            counts += np.bincount(number, minlength=BINS)

    def bias(self) -> tuple[SubpixelBias, SubpixelBias]:
        """Along x and y, of what has been added."""
        x, y = (tuple(counts.tolist()) for counts in self._counts)
        return SubpixelBias("x", x), SubpixelBias("y", y)


def subpixel_bias(pieces: Iterable[Mapping[str, npt.ArrayLike]], pixel: PixelSize) -> tuple[SubpixelBias, SubpixelBias]:
    """Bias along x and y of rows that come piece by piece, with ``x_nm`` and ``y_nm`` in the camera's frame."""
    counts = SubpixelCounts(pixel)
    for piece in pieces:
        counts.add(piece["x_nm"], piece["y_nm"])
    return counts.bias()
