"""Search for rows with neighbours in space, regardless of time, with bounded memory for tables of any size.

The field is divided into strips along x, each with a margin of one radius on either side. The first pass over the table
plans the strips so that each fits into memory. Each strip then takes another pass. The result has one bit per row.
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
    """Find the rows with at least ``min_neighbours`` other rows within a radius; return one bit per row.

    The lowest bit of each byte comes first.

    Parameters
    ----------
    pieces
        Function that returns a new iterator over the positions of all rows at each call: arrays ``(D, N)`` in nm, x
        first. A row without a finite position has no neighbours and is not counted as a neighbour.
    rows_at_once
        Approximate number of rows per strip; affects only the memory use.
    """
    strips, num_rows = _lay_strips(pieces(), radius_nm, rows_at_once)
    bits = np.zeros(num_rows // 8 + 1, dtype=np.uint8)
    for strip in strips:
        row, position_DN = _gather(pieces(), strip, radius_nm)
        inside = (position_DN[0] >= strip.low_nm) & (position_DN[0] < strip.high_nm)
        if len(row) <= min_neighbours or not inside.any():
            continue
        tree = cKDTree(position_DN.T)
        # each row is its own first neighbour; the upper bound is exclusive, so it is slightly enlarged
        distance, _ = tree.query(
            position_DN.T[inside], k=[min_neighbours + 1], distance_upper_bound=np.nextafter(radius_nm, np.inf)
        )
        enough = row[inside][np.isfinite(distance[:, 0])]
        np.bitwise_or.at(bits, enough >> 3, (1 << (enough & 7)).astype(np.uint8))
    return bits


def marked(bits: Bits, first: int, num: int) -> npt.NDArray[np.bool_]:
    """Return the bits of ``num`` rows from ``first`` on as a Boolean array."""
    start = first >> 3
    part = np.unpackbits(bits[start : (first + num) // 8 + 1], bitorder="little")
    return part[first - 8 * start :][:num].astype(np.bool_)


def _lay_strips(pieces: Iterator[Floats], radius_nm: float, rows_at_once: int) -> tuple[list[_Strip], int]:
    """Plan strips whose width is a multiple of the radius; a new strip begins when the previous one is full.

    Also return the number of rows.
    """
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
    """Return numbers and positions of the rows in a strip and in its margin, which slightly exceeds the radius."""
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
