"""The share of the rows with the smallest sigmas: an exact quantile of any number of rows, with constant memory."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SIGMAS = ("x_sig", "y_sig", "z_sig")
_HALF = 16
_BINS = 1 << _HALF


def combined_sigma(rows: pa.Table) -> npt.NDArray[np.float32]:
    """Root of the sum of the squares of the sigmas along x, y, z, nm; of x and y where z is not known.

    Infinite where x or y is not known.
    """
    x, y, z = (rows[name].to_numpy().astype(np.float64) for name in SIGMAS)
    total = np.sqrt(x**2 + y**2 + np.where(np.isfinite(z), z, 0.0) ** 2)
    return np.where(np.isfinite(total), total, np.inf).astype(np.float32)


def sigma_quantile(pieces: Callable[[], Iterator[pa.Table]], share: float) -> float:
    """The combined sigma that ``share`` of the rows do not exceed, exactly; NaN without rows.

    Floats above 0 sort like the integers that have their bits: a first pass counts the upper halves of these, a second
    one the lower halves where the upper one is that of the quantile.
    """
    upper = np.zeros(_BINS, dtype=np.int64)
    for rows in pieces():
        upper += np.bincount(_bits(rows) >> _HALF, minlength=_BINS)
    wanted = math.ceil(share * int(upper.sum()))
    if wanted == 0:
        return math.nan
    high = int(np.searchsorted(np.cumsum(upper), wanted))
    wanted -= int(upper[:high].sum())
    lower = np.zeros(_BINS, dtype=np.int64)
    for rows in pieces():
        bits = _bits(rows)
        lower += np.bincount(bits[bits >> _HALF == high] & (_BINS - 1), minlength=_BINS)
    low = int(np.searchsorted(np.cumsum(lower), wanted))
    return float(np.array((high << _HALF) + low, dtype=np.uint32).view(np.float32))


def _bits(rows: pa.Table) -> npt.NDArray[np.int64]:
    return combined_sigma(rows).view(np.uint32).astype(np.int64)
