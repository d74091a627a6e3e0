"""Seams at the cuts between blocks and between tiles: numbers of rows by distance from the nearest cut.

No truth is needed. Rows next to cuts are compared with rows slightly further away, so that neither a trend over the
acquisition nor the structure of the sample is mistaken for a seam.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.axes import ContextKind
from lls_decode.blocks import Block, plan_tiles

DISTANCES: Final = 8
"""Number of distances that are counted: 0 (next to the cut) to 7."""
_FAR: Final = 2
"""First of the distances that distance 0 is compared with."""
_MULTIPLE: Final = 4
"""Multiple of pixels at which tiles begin."""

Integers = npt.NDArray[np.int64]


class CutCounts:
    """Rows by distance from the nearest cut along an axis that is cut into pieces; its two ends are not cuts."""

    def __init__(self, starts: Sequence[int], stop: int, repeats: Sequence[int] | None = None) -> None:
        """Take pieces from each start to the next one, the last to ``stop``; ``repeats`` is how often each occurs."""
        self.starts = np.asarray(starts, dtype=np.int64)
        """First position of each piece."""
        self._stops = np.append(self.starts[1:], stop)
        self.counts = np.zeros(DISTANCES, dtype=np.int64)
        """(8,) rows by distance."""
        self.positions = np.zeros(DISTANCES, dtype=np.int64)
        """(8,) number of frames, or of pixel columns, by distance."""
        last = len(starts) - 1
        for number, size in enumerate(self._stops - self.starts):
            times = 1 if repeats is None else repeats[number]
            self.positions += times * _distances(int(size), number > 0, number < last)

    @property
    def num_cuts(self) -> int:
        """Number of borders between pieces."""
        return len(self.starts) - 1

    def add(self, positions: npt.NDArray[Any]) -> None:
        """Count rows by their (integer) position along the axis; rows outside are ignored."""
        inside = positions[(positions >= self.starts[0]) & (positions < self._stops[-1])]
        piece = np.searchsorted(self.starts, inside, side="right") - 1
        from_start = np.where(piece > 0, inside - self.starts[piece], DISTANCES)
        to_stop = np.where(piece < self.num_cuts, self._stops[piece] - 1 - inside, DISTANCES)
        distance = np.minimum(np.minimum(from_start, to_stop), DISTANCES)
        self.counts += np.bincount(distance.astype(np.int64), minlength=DISTANCES + 1)[:DISTANCES]

    @property
    def rates(self) -> npt.NDArray[np.float64]:
        """(8,) rows per frame (or per pixel column) by distance; NaN for distances that do not occur."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(self.positions > 0, self.counts / self.positions, np.nan), dtype=np.float64)

    @property
    def ratio(self) -> float:
        """Rows next to a cut relative to those at distances 2 to 7: 1 without a seam, NaN if it cannot be judged."""
        far, places = self.counts[_FAR:].sum(), self.positions[_FAR:].sum()
        return float(self.rates[0] / (far / places)) if far and places and self.positions[0] else math.nan

    @property
    def ratio_error(self) -> float:
        """Standard deviation of `ratio` for independent rows.

        It is larger in reality, since rows of a molecule are not independent.
        """
        near, far = int(self.counts[0]), int(self.counts[_FAR:].sum())
        return self.ratio * math.sqrt(1 / near + 1 / far) if near and far else math.nan


def block_cuts(blocks: Sequence[Block], done: Sequence[Block], context: ContextKind) -> CutCounts | None:
    """Return the cuts along frames (volumes for context along time, else planes); None if nothing is cut."""
    along = "volume" if context == "time" else "plane"
    pieces = {getattr(block, f"{along}_start"): getattr(block, f"{along}_stop") for block in blocks}
    if context == "none" or len(pieces) < 2:
        return None
    repeats = dict.fromkeys(sorted(pieces), 0)
    for block in done:
        start = getattr(block, f"{along}_start")
        repeats[start] += block.num_owned // (pieces[start] - start)
    return CutCounts(list(repeats), max(pieces.values()), list(repeats.values()))


def tile_cuts(height: int, width: int, tile_px: int) -> tuple[CutCounts, CutCounts] | None:
    """Return the cuts along x and along y, in pixels; None if frames are not cut."""
    tiles = plan_tiles(height, width, tile_px=tile_px, halo_y_px=0, halo_x_px=0, multiple=_MULTIPLE)
    if len(tiles) == 1:
        return None
    x, y = sorted({tile.x_start for tile in tiles}), sorted({tile.y_start for tile in tiles})
    return CutCounts(x, width), CutCounts(y, height)


@cache
def _distances(size: int, cut_before: bool, cut_after: bool) -> Integers:
    """Return the positions (8,) of one piece by their distance from its cuts."""
    place = np.arange(size)
    far = np.full(size, DISTANCES)
    distance = np.minimum(place if cut_before else far, place[::-1] if cut_after else far)
    return np.bincount(np.minimum(distance, DISTANCES), minlength=DISTANCES + 1)[:DISTANCES].astype(np.int64)
