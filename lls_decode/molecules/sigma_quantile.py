"""Exact quantile of the combined sigma over any number of rows, with constant memory."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SIGMAS = ("x_sig", "y_sig", "z_sig")
_HALF = 16
_BINS = 1 << _HALF


def combined_sigma(rows: pa.Table) -> npt.NDArray[np.float32]:
    """Return the root of the sum of squares of the sigmas along x, y, z in nm.

    The result is for x and y where z is unknown, and infinite where x or y is unknown. Sigmas of 0 or less are unknown.
    """
    x, y, z = (rows[name].to_numpy().astype(np.float64) for name in SIGMAS)
    total = np.sqrt(x**2 + y**2 + np.where(np.isfinite(z) & (z > 0), z, 0.0) ** 2)
    return np.where(np.isfinite(total) & (x > 0) & (y > 0), total, np.inf).astype(np.float32)


def sigma_quantile(pieces: Callable[[], Iterator[pa.Table]], share: float) -> float:
    """Return the exact combined sigma that a share of the rows does not exceed; NaN without rows.

    Positive floats sort like the integers with the same bits. The first pass makes a histogram of the upper 16 bits and
    finds those of the quantile. The second pass makes a histogram of the lower 16 bits of values with these upper bits.
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
