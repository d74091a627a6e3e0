"""What the axes of a dataset mean: volumes of planes, and how they map to frame numbers.

A **volume** is one sweep, a **plane** the index in the sweep in acquisition order, a **frame** = volume * P + plane.
All are 0-based. A classical movie has P = 1, so that its volume number is its frame number.
"""

from dataclasses import dataclass
from typing import Literal

ContextKind = Literal["none", "time", "plane"]
"""Along which axis a frame meets its two neighbours: not at all, the same plane in time, the next plane of a sweep."""

ScanAxis = Literal["x", "y"]

NetworkVariant = Literal["published", "light"]
"""The network of the paper, or one with most of its work at half resolution."""

IndexRange = tuple[int | None, int | None]
"""First index and one past the last, as in a Python slice; None: from the beginning, to the end."""


def range_text(bounds: IndexRange) -> str:
    """Write a range as the command line takes it: ``3:7``, ``3:``, ``:7``; its end is excluded."""
    return ":".join("" if bound is None else str(bound) for bound in bounds)


@dataclass(frozen=True)
class Layout:
    """Size of a dataset in volumes, planes and pixels."""

    num_volumes: int
    planes_per_volume: int
    height: int
    """Pixels along y (rows)."""
    width: int
    """Pixels along x (columns)."""

    @property
    def num_frames(self) -> int:
        """Number of frames, volumes times planes."""
        return self.num_volumes * self.planes_per_volume

    @property
    def num_pixels(self) -> int:
        """Number of pixels in all frames."""
        return self.num_frames * self.height * self.width
