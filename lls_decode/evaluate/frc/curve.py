"""A Fourier correlation, the resulting resolution, and its reliability."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.evaluate.frc.rings import FIRST_RING, THRESHOLD

Floats = npt.NDArray[np.float64]

FEW_ROWS: Final = 500
"""Number of localizations below which uncorrelated halves are reported as inconclusive."""


@dataclass(frozen=True)
class FourierCorrelation:
    """A Fourier correlation curve and the resulting resolution."""

    resolution_nm: float
    """Resolution; NaN if the curve does not cross the threshold, or is below it already in ring `FIRST_RING` (a tenth
    of the field)."""
    q_per_nm: Floats
    """(R,) spatial frequency of each ring, up to 1 / (2 pixels)."""
    correlation: Floats
    """(R,) correlation of each ring."""
    smoothed: Floats
    """(R,) smoothed by local lines (LOESS); the first crossing of the threshold gives the resolution."""
    num_localizations: tuple[int, int]
    """Number of localizations in the two pictures."""
    num_blocks: int
    pixel_nm: float
    shape: tuple[int, ...]
    """Shape of the pictures."""
    interval_nm: tuple[float, float] | None = None
    """95 % interval of the resolution, by the jackknife over parts of the frames; infinite at its end if the halves may
    have nothing in common. None: not estimated (see ``interval_note``), or there is no resolution."""
    num_parts: int = 0
    """Number of parts of the frames that were left out in turn; 0 without an interval."""
    num_unresolved: int = 0
    """How many of these times the curve gave no resolution."""
    interval_note: str = ""
    """Reason why there is no interval; empty if there is one."""

    @property
    def is_firm(self) -> bool:
        """Whether the interval is narrower than half the resolution."""
        if self.interval_nm is None:
            return False
        return self.interval_nm[1] - self.interval_nm[0] <= 0.5 * self.resolution_nm

    def describe(self) -> list[str]:
        """Return the resolution and its reliability in lines of text."""
        num = sum(self.num_localizations)
        if math.isnan(self.resolution_nm):
            if self.reaches_threshold:
                return [f"finer than {2 * self.pixel_nm:g} nm: the curve stays above 1/7; choose a smaller --pixel-nm"]
            return [
                "no resolution finer than a tenth of the field: the halves are not correlated; more localizations help",
                f"{num} localizations do not suffice to judge the resolution" if num < FEW_ROWS else "",
            ][: 1 + (num < FEW_ROWS)]
        lines = [f"resolution {self.resolution_nm:.1f} nm (1/7)"]
        if self.interval_nm is None:
            return [*lines, f"no interval: {self.interval_note}"]
        low, high = self.interval_nm
        if math.isinf(high):
            lines[0] += f", 95 % interval {low:.1f} nm to no resolution at all"
        else:
            lines[0] += f", 95 % interval {low:.1f} to {high:.1f} nm"
        lines[0] += f" (each of {self.num_parts} parts of the frames left out in turn)"
        if self.num_unresolved:
            lines.append(
                f"in {self.num_unresolved} of {self.num_parts} cases the halves without one part had nothing in "
                "common: this resolution is not reliable"
            )
        elif not self.is_firm:
            lines.append(f"{num} localizations are too few for a firm number; more frames narrow the interval")
        return lines

    @property
    def reaches_threshold(self) -> bool:
        """Whether the halves are correlated; the resolution is then NaN only if it is finer than two pixels."""
        return len(self.smoothed) >= FIRST_RING and bool(self.smoothed[FIRST_RING - 1] >= THRESHOLD)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "resolution_nm": None if math.isnan(self.resolution_nm) else self.resolution_nm,
            "threshold": THRESHOLD,
            "num_localizations": list(self.num_localizations),
            "interval_nm": None
            if self.interval_nm is None
            else [end if math.isfinite(end) else None for end in self.interval_nm],
            "interval_parts": self.num_parts,
            "interval_unresolved": self.num_unresolved,
            "interval_note": self.interval_note,
            "is_firm": self.is_firm,
            "num_blocks": self.num_blocks,
            "pixel_nm": self.pixel_nm,
            "shape": list(self.shape),
            "q_per_nm": self.q_per_nm.tolist(),
            "correlation": self.correlation.tolist(),
            "smoothed": self.smoothed.tolist(),
        }
