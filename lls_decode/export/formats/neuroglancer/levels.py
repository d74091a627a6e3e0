"""Levels of the spatial index: grids from coarse to fine, and which points each level holds.

A viewer loads the visible cells, level by level, until it has enough points for the screen. Each level holds a random
subset of the points that coarser levels leave, with about `CELL_POINTS` in the fullest cell. The finest grid holds all
remaining points. It gets several levels if one of its cells would have more than `MOST_POINTS`, so that memory is
bounded even if points lie all on one spot or far apart. The level of a point depends only on the number of its row
(`lls_decode.table.thinning.row_lot`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CELL_POINTS: Final = 5000
"""Approximate number of points in the fullest cell of a level: some 300 kB."""
MOST_POINTS: Final = 500_000
"""Approximate number of points in the fullest cell of the finest grid."""
MOST_BITS: Final = 20
"""Bits of a cell number in the finest grid; a million counts are kept in memory."""


@dataclass(frozen=True)
class Grid:
    """Grid of cells of one level."""

    bits: tuple[int, ...]
    """Number of bits along each axis, which has ``2**bits`` cells."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(1 << bits for bits in self.bits)

    def cell(self, position: Floats, low: Floats, high: Floats) -> Integers:
        """Return the cell of each point along each axis, ``(rank, N)``."""
        shape = np.array(self.shape)[:, None]
        cell = np.floor((position - low[:, None]) / (high - low)[:, None] * shape).astype(np.int64)
        return np.asarray(np.clip(cell, 0, shape - 1))

    def key(self, cell: Sequence[Integers] | Integers) -> Integers:
        """Return the compressed Morton code of cells: the interleaved bits of their numbers along the axes."""
        code, place = np.zeros(np.shape(cell[0]), dtype=np.int64), 0
        for bit in range(max(self.bits)):
            for axis, bits in enumerate(self.bits):
                if bit < bits:
                    code |= ((cell[axis] >> bit) & 1) << place
                    place += 1
        return code


def grids(extent_nm: Floats) -> list[Grid]:
    """Return grids from one cell to the finest; each halves the cells along axes where they become more cubic."""
    bits = np.zeros(len(extent_nm), dtype=np.int64)
    found = [Grid(tuple(bits.tolist()))]
    while True:
        size = extent_nm / 2.0**bits
        bits = bits + (size > size.max() / np.sqrt(2.0))
        if bits.sum() > MOST_BITS:
            return found
        found.append(Grid(tuple(bits.tolist())))


@dataclass(frozen=True)
class Level:
    """One level of the spatial index."""

    grid: Grid
    first_lot: float
    """First lot of the level: it holds the points with lots from here ..."""
    stop_lot: float
    """... up to this lot (excluded)."""
    expected: npt.NDArray[np.float64]
    """Expected number of points in each cell; shape of the grid."""


def plan_levels(counts: Integers, of: Sequence[Grid]) -> list[Level]:
    """Return the levels of an index.

    Parameters
    ----------
    counts
        Number of points in each cell of the finest grid.
    of
        Grids from coarse to fine; the last ones are unused if the earlier levels hold all points.
    """
    levels: list[Level] = []
    first, finest = 0.0, len(of) - 1
    while first < 1.0:
        grid = of[min(len(levels), finest)]
        total = _coarser(counts, grid)
        left = float(total.max()) * (1.0 - first)
        most = CELL_POINTS if len(levels) < finest else MOST_POINTS
        stop = first + (1.0 - first) * most / left if left > most else 1.0
        levels.append(Level(grid, first, stop, total.astype(np.float64) * (stop - first)))
        first = stop
    return levels


def _coarser(counts: Integers, grid: Grid) -> Integers:
    """Return the point counts of a coarser grid."""
    parts = [size for cells, by in zip(grid.shape, counts.shape, strict=True) for size in (cells, by // cells)]
    return np.asarray(counts.reshape(parts).sum(axis=tuple(range(1, 2 * len(grid.shape), 2))))
