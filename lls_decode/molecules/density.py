"""Rows that have neighbours in space, whenever these were seen: over any number of rows, tile by tile.

A tile is a strip along x with a margin of one radius on either side. The table is read once to lay the strips, so that
each holds about as many rows as memory has room for, and then once a strip. One bit a row is kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint8]

ROWS_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class _Strip:
    low_nm: float
    high_nm: float


def crowded(
    pieces: Callable[[], Iterator[Floats]],
    *,
    min_neighbours: int,
    radius_nm: float,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Bits:
    """Which rows have at least ``min_neighbours`` others within a radius: a bit a row, lowest bit first.

    Parameters
    ----------
    pieces
        Gives the positions of all rows anew at each call: arrays ``(D, N)``, x first, nm. A row without a finite
        position has no neighbours, and is none.
    rows_at_once
        About how many rows a tile has; changes the memory needed and nothing else.
    """
    strips, num_rows = _lay_strips(pieces(), radius_nm, rows_at_once)
    bits = np.zeros(num_rows // 8 + 1, dtype=np.uint8)
    for strip in strips:
        row, position_DN = _gather(pieces(), strip, radius_nm)
        inside = (position_DN[0] >= strip.low_nm) & (position_DN[0] < strip.high_nm)
        if len(row) <= min_neighbours or not inside.any():
            continue
        tree = cKDTree(position_DN.T)
        # the row itself is the first of its neighbours; the limit is not included, hence a hair more
        distance, _ = tree.query(
            position_DN.T[inside], k=[min_neighbours + 1], distance_upper_bound=np.nextafter(radius_nm, np.inf)
        )
        enough = row[inside][np.isfinite(distance[:, 0])]
        np.bitwise_or.at(bits, enough >> 3, (1 << (enough & 7)).astype(np.uint8))
    return bits


def marked(bits: Bits, first: int, num: int) -> npt.NDArray[np.bool_]:
    """The bits of ``num`` rows from ``first`` on."""
    start = first >> 3
    part = np.unpackbits(bits[start : (first + num) // 8 + 1], bitorder="little")
    return part[first - 8 * start :][:num].astype(np.bool_)


def _lay_strips(pieces: Iterator[Floats], radius_nm: float, rows_at_once: int) -> tuple[list[_Strip], int]:
    """Strips of whole radii, each begun when the one before is full."""
    counts: Counter[int] = Counter()
    num_rows = 0
    for position_DN in pieces:
        num_rows += position_DN.shape[1]
        x = position_DN[0]
        number, count = np.unique(np.floor(x[np.isfinite(x)] / radius_nm), return_counts=True)
        counts.update(dict(zip(number.astype(np.int64).tolist(), count.tolist(), strict=True)))
    strips: list[_Strip] = []
    rows, begin = 0, 0
    columns = sorted(counts)
    for place, column in enumerate(columns):
        if rows == 0:
            begin = column
        rows += counts[column]
        if rows >= rows_at_once or place == len(columns) - 1:
            strips.append(_Strip(begin * radius_nm, (column + 1) * radius_nm))
            rows = 0
    return strips, num_rows


def _gather(pieces: Iterator[Floats], strip: _Strip, radius_nm: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Numbers and positions of the rows in a strip and its margin (a hair more than the radius)."""
    margin = radius_nm * (1 + 1e-9)
    rows: list[npt.NDArray[np.int64]] = []
    positions: list[Floats] = []
    first = 0
    for position_DN in pieces:
        x = position_DN[0]
        near = (x >= strip.low_nm - margin) & (x <= strip.high_nm + margin) & np.all(np.isfinite(position_DN), axis=0)
        rows.append(first + np.flatnonzero(near))
        positions.append(position_DN[:, near])
        first += position_DN.shape[1]
    return np.concatenate(rows), np.concatenate(positions, axis=1)
