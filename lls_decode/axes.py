"""Axes of a dataset: volumes of planes, and their mapping to frame numbers.

A **volume** is one sweep, a **plane** is the index in the sweep in acquisition order, and **frame** = volume * P +
plane. All are 0-based. A movie of single planes has P = 1, so that volume and frame numbers are equal.
"""

from dataclasses import dataclass
from typing import Literal

ContextKind = Literal["none", "time", "plane"]
"""Axis of a frame's two neighbours: none, the same plane over time, or the neighbouring planes of the sweep."""

ScanAxis = Literal["x", "y"]

NetworkVariant = Literal["published", "light"]
"""Network architecture: that of the paper, or one that computes mostly at half resolution."""

IndexRange = tuple[int | None, int | None]
"""First and one-past-last index, as in a Python slice; None: from the beginning, or to the end."""


def range_text(bounds: IndexRange) -> str:
    """Return a range in the notation of the command line: ``3:7``, ``3:``, ``:7``; the end is excluded."""
    return ":".join("" if bound is None else str(bound) for bound in bounds)


@dataclass(frozen=True)
class Layout:
    """Size of a dataset in volumes, planes and pixels."""

    num_volumes: int
    planes_per_volume: int
    height: int
    """Number of pixels along y (rows)."""
    width: int
    """Number of pixels along x (columns)."""

    @property
    def num_frames(self) -> int:
        """Number of frames, volumes times planes."""
        return self.num_volumes * self.planes_per_volume

    @property
    def num_pixels(self) -> int:
        """Number of pixels in all frames."""
        return self.num_frames * self.height * self.width
