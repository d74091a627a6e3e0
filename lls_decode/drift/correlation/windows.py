"""Windows of time: whole volumes with about equally many points, split where the drift bends.

Many points where little happens make a window precise, few where the sample jumps make it short.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MIN_POINTS: Final = 150
"""A window with fewer points is not made by a split."""
_MIN_BEND_NM: Final = 3.0
"""Smaller ones are left to the interpolation, which misses a small part of them only."""
_BEND_SIGMAS: Final = 6.0
"""Standard deviations from residuals are too small, by what all pairs of a window have in common."""
_GAP: Final = 0.5
"""Volumes in a row without a point are a gap, in durations of an ordinary window."""
_LONG: Final = 3
"""A window lasts long, in durations of an ordinary one."""


@dataclass(frozen=True)
class Windows:
    """``W`` windows, each a run of points that are sorted by volume."""

    edges: Integers
    """(W + 1,) number of the first point of each window, and of all points; a volume is in one window only."""
    volume: Integers
    """(N,) of the points."""

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def counts(self) -> Integers:
        """(W,) points in each."""
        return np.diff(self.edges)

    @property
    def centres(self) -> Floats:
        """(W,) mean volume of the points of each."""
        sums = np.add.reduceat(self.volume.astype(np.float64), self.edges[:-1])
        return np.asarray(sums / self.counts)

    @property
    def reach(self) -> Floats:
        """(W,) volumes before and after its centre that a window extends, if its points are evenly spread there."""
        volume = self.volume.astype(np.float64)
        sums, squares = (np.add.reduceat(values, self.edges[:-1]) for values in (volume, volume**2))
        variance = np.maximum(squares / self.counts - (sums / self.counts) ** 2, 0.0)
        return np.asarray(np.sqrt(3 * variance + 0.25))

    def part(self, number: int) -> slice:
        """The points of one window."""
        return slice(int(self.edges[number]), int(self.edges[number + 1]))


def cut_evenly(volume: Integers, num_windows: int) -> Windows:
    """At most ``num_windows`` windows with about equally many points, cut between volumes."""
    wanted = np.linspace(0, len(volume), num_windows + 1).round().astype(np.int64)
    starts = np.searchsorted(volume, volume[wanted[1:-1]], side="left")
    return Windows(np.unique(np.concatenate([[0], starts, [len(volume)]])), volume)


def cut_at_gaps(windows: Windows) -> Windows:
    """Cut windows where volumes without points follow each other for long, so that none has a gap within.

    What is too small then joins its neighbour: the one on its own side of the gap, else the one over the smaller gap.
    """
    longest = max(2.0, _GAP * float(np.median(2 * windows.reach)))
    empty = np.diff(windows.volume)
    edges = [int(edge) for edge in np.union1d(windows.edges, 1 + np.flatnonzero(empty > longest))]
    number = 0
    while number < len(edges) - 1 and len(edges) > 2:
        if edges[number + 1] - edges[number] >= MIN_POINTS // 2:
            number += 1
            continue
        inner = [edge for edge in (edges[number], edges[number + 1]) if 0 < edge < len(windows.volume)]
        edges.remove(min(inner, key=lambda edge: empty[edge - 1]))
        number = max(0, number - 1)
    return Windows(np.asarray(edges, dtype=np.int64), windows.volume)


def cut_long(windows: Windows) -> Windows:
    """Cut windows that last much longer than most, where points are few, as far as these suffice."""
    duration = 2 * windows.reach
    parts = np.floor(duration / np.median(duration)).astype(np.int64)
    return split(windows, np.where(parts >= _LONG, parts, 1))


def split(windows: Windows, num_parts: Integers) -> Windows:
    """Cut each window into so many parts by its points; fewer where they would get too small, or are one volume."""
    cuts = []
    for number in np.flatnonzero(num_parts > 1):
        part, count = windows.part(int(number)), int(windows.counts[number])
        parts = min(int(num_parts[number]), count // MIN_POINTS)
        cuts += [_cut_near(windows.volume, part, count * piece // parts) for piece in range(1, parts)]
    return Windows(np.union1d(windows.edges, np.asarray(cuts, dtype=np.int64)), windows.volume)


def _cut_near(volume: Integers, part: slice, place: int) -> int:
    """Where a volume begins, near a place in a window; the beginning of the window if nothing else."""
    middle = volume[part.start + place]
    before, after = (int(np.searchsorted(volume, middle, side=side)) for side in ("left", "right"))
    return before if before > part.start else after if after < part.stop else part.start


def bends(centres: Floats, drift_WD: Floats, sigma_WD: Floats) -> Floats:
    """``(W, D)`` nm, how far the drift of a window is off the straight line between its neighbours, where significant.

    0 elsewhere. Neighbours take the bend of a window too, since a jump may lie on either side of its centre.
    """
    bend = np.zeros_like(drift_WD)
    if len(centres) < 3:
        return bend
    share = ((centres[1:-1] - centres[:-2]) / (centres[2:] - centres[:-2]))[:, None]
    off = np.abs(drift_WD[1:-1] - (1 - share) * drift_WD[:-2] - share * drift_WD[2:])
    noise = np.sqrt(sigma_WD[1:-1] ** 2 + ((1 - share) * sigma_WD[:-2]) ** 2 + (share * sigma_WD[2:]) ** 2)
    bend[1:-1] = np.where((off > _BEND_SIGMAS * noise) & (off > _MIN_BEND_NM), off, 0.0)
    near = bend.copy()
    near[1:] = np.maximum(near[1:], bend[:-1])
    near[:-1] = np.maximum(near[:-1], bend[1:])
    return near
