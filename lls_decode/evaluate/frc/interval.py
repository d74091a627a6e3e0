"""Uncertainty of a resolution, by leaving out parts of the frames in turn."""

import math
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from lls_decode.evaluate.frc.curve import FourierCorrelation
from lls_decode.evaluate.frc.rings import FIRST_RING, THRESHOLD, Picture, correlate, first_crossing, smooth

MOST_ROWS: Final = 500_000
"""Largest number of rows for which an interval is estimated without being requested."""
MOST_INTERVAL_PIXELS: Final = 2**22
"""Largest number of pixels of a picture for which an interval is estimated without being requested."""
_FEWEST_PARTS: Final = 10


class Parts:
    """Rows by parts of the frames, each of which is left out in turn: the jackknife (Efron and Stein, 1981).

    Parts lie within blocks. The rows of a molecule mostly lie in one part, so that it counts about once.
    """

    def __init__(self, blocks: int, num: int, shape: tuple[int, ...], *, wanted: bool | None) -> None:
        """Cut ``num`` frames (volumes) into at least ten parts, if there are enough of them."""
        self._shape, self._span = shape, num
        self.num = blocks * max(1, -(-_FEWEST_PARTS // blocks))
        """Total number of parts."""
        self._most_rows = None if wanted else MOST_ROWS
        self.note = ""
        """Reason why there is no interval."""
        if wanted is False:
            self.note = "it was not requested"
        elif num < self.num:
            self.note = f"{num} frames or volumes cannot be cut into {self.num} parts"
        elif wanted is None and math.prod(shape) > MOST_INTERVAL_PIXELS:
            self.note = f"the picture has more than {MOST_INTERVAL_PIXELS / 1e6:.0f} million pixels (--interval)"
        self._rows: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]] = []
        self._num_rows = 0

    def add(self, place: npt.NDArray[np.int64], odd: npt.NDArray[np.int64], volume: npt.NDArray[np.int64]) -> None:
        """Store pixel, half and part of each row, unless there are too many rows."""
        self._num_rows += len(place)
        if not self.note and self._most_rows is not None and self._num_rows > self._most_rows:
            self.note = f"there are more than {self._most_rows:,} localizations (--interval)"
            self._rows.clear()
        if not self.note:
            part = volume * self.num // self._span
            self._rows.append((place, (2 * part + odd).astype(np.uint16)))

    def with_interval(self, curve: FourierCorrelation) -> FourierCorrelation:
        """Return the curve with the interval of its resolution, if there is one."""
        if self.note or math.isnan(curve.resolution_nm):
            return replace(curve, interval_note=self.note or "there is no resolution")
        place, label = (np.concatenate(values) for values in zip(*self._rows, strict=True))
        frequencies, unresolved = [], 0
        for part in range(self.num):
            keep = label // 2 != part
            halves = [self._picture(place[keep & (label % 2 == half)]) for half in range(2)]
            q, correlation = correlate(halves, pixel_nm=curve.pixel_nm)
            smoothed = smooth(correlation)
            resolution = first_crossing(q, smoothed)
            if math.isnan(resolution):
                is_above = smoothed[FIRST_RING - 1] >= THRESHOLD
                unresolved += not is_above
                frequencies.append(float(q[-1] if is_above else q[FIRST_RING - 1]))
            else:
                frequencies.append(1 / resolution)
        error = math.sqrt((self.num - 1) * float(np.var(frequencies)))
        reach = float(stdtrit(self.num - 1, 0.975)) * error
        low, high = 1 / curve.resolution_nm - reach, 1 / curve.resolution_nm + reach
        ends = (1 / high, 1 / low if low > curve.q_per_nm[FIRST_RING - 1] else math.inf)
        return replace(curve, interval_nm=ends, num_parts=self.num, num_unresolved=unresolved)

    def _picture(self, place: npt.NDArray[np.int64]) -> Picture:
        counts = np.bincount(place, minlength=math.prod(self._shape)).astype(np.float32)
        return np.asarray(counts.reshape(self._shape), dtype=np.float32)
