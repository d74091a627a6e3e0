"""Choose an even subset of the rows of a table, reproducibly.

The choice depends only on row numbers, never on how rows are stored or read, so it can be made while a table is
streamed.
"""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def row_lot(row: Integers) -> npt.NDArray[np.float64]:
    """Return a number from 0 to 1 (excluded) for each row, as if drawn at random: the hash of the row's number.

    The mixing function is SplitMix64's (Steele, Lea & Flood, OOPSLA 2014).
    """
    mixed = row.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def thinned_rows(num_rows: int, limit: int) -> Integers:
    """Return the numbers of at most ``limit`` rows, ascending: one from each of ``limit`` equal parts of the table.

    The row within each part is drawn at random, so that patterns that repeat along the table cause no aliasing.
    """
    if num_rows <= limit:
        return np.arange(num_rows, dtype=np.int64)
    part = np.arange(limit, dtype=np.int64)
    first, stop = part * num_rows // limit, (part + 1) * num_rows // limit
    return first + np.floor(row_lot(part) * (stop - first)).astype(np.int64)
