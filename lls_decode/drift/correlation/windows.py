"""Windows of time: whole volumes with about equal numbers of points, split where the drift bends.

Many points make a window precise where little moves; few points make it short where the sample jumps.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MIN_POINTS: Final = 150
"""Smallest number of points in a window that results from a split."""
_MIN_BEND_NM: Final = 3.0
"""Smaller bends are left to the interpolation, which reproduces most of them."""
_BEND_SIGMAS: Final = 6.0
"""Significance of a bend, in standard deviations. These come from residuals and are too small, since all pairs of a
window share some errors."""
_GAP: Final = 0.5
"""Length of a gap (successive volumes without points), in durations of a typical window."""
_LONG: Final = 3
"""Duration of a long window, in durations of a typical one."""


@dataclass(frozen=True)
class Windows:
    """``W`` windows, each a range of points sorted by volume."""

    edges: Integers
    """(W + 1,) number of the first point of each window, then the number of all points; no volume is in two windows."""
    volume: Integers
    """(N,) volume of each point."""

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def counts(self) -> Integers:
        """(W,) number of points in each window."""
        return np.diff(self.edges)

    @property
    def centres(self) -> Floats:
        """(W,) mean volume of the points in each window."""
        sums = np.add.reduceat(self.volume.astype(np.float64), self.edges[:-1])
        return np.asarray(sums / self.counts)

    @property
    def reach(self) -> Floats:
        """(W,) half-length of each window in volumes, if its points were evenly spread."""
        volume = self.volume.astype(np.float64)
        sums, squares = (np.add.reduceat(values, self.edges[:-1]) for values in (volume, volume**2))
        variance = np.maximum(squares / self.counts - (sums / self.counts) ** 2, 0.0)
        return np.asarray(np.sqrt(3 * variance + 0.25))

    def part(self, number: int) -> slice:
        """Return the slice of one window's points."""
        return slice(int(self.edges[number]), int(self.edges[number + 1]))


def cut_evenly(volume: Integers, num_windows: int) -> Windows:
    """Return at most ``num_windows`` windows with about equal numbers of points, cut between volumes."""
    wanted = np.linspace(0, len(volume), num_windows + 1).round().astype(np.int64)
    starts = np.searchsorted(volume, volume[wanted[1:-1]], side="left")
    return Windows(np.unique(np.concatenate([[0], starts, [len(volume)]])), volume)


def cut_at_gaps(windows: Windows) -> Windows:
    """Cut windows at long gaps (successive volumes without points), so that no window contains one.

    Windows that become too small join a neighbour: on the same side of the gap if possible, else over the smaller gap.
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
    """Split windows that last much longer than most, where points are few, as far as the points suffice."""
    duration = 2 * windows.reach
    parts = np.floor(duration / np.median(duration)).astype(np.int64)
    return split(windows, np.where(parts >= _LONG, parts, 1))


def split(windows: Windows, num_parts: Integers) -> Windows:
    """Split each window into at most this many parts by its points; parts must not be too small or share a volume."""
    cuts = []
    for number in np.flatnonzero(num_parts > 1):
        part, count = windows.part(int(number)), int(windows.counts[number])
        parts = min(int(num_parts[number]), count // MIN_POINTS)
        cuts += [_cut_near(windows.volume, part, count * piece // parts) for piece in range(1, parts)]
    return Windows(np.union1d(windows.edges, np.asarray(cuts, dtype=np.int64)), windows.volume)


def _cut_near(volume: Integers, part: slice, place: int) -> int:
    """Return where a volume begins, near a place in a window; if none does, where the window begins."""
    middle = volume[part.start + place]
    before, after = (int(np.searchsorted(volume, middle, side=side)) for side in ("left", "right"))
    return before if before > part.start else after if after < part.stop else part.start


def bends(centres: Floats, drift_WD: Floats, sigma_WD: Floats) -> Floats:
    """Return the significant deviations ``(W, D)`` of each window's drift from the line between its neighbours, nm.

    Others are 0. A bend also counts for the neighbouring windows, since a jump may lie on either side of the centre.
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
