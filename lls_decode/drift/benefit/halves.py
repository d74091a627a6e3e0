"""Halves of a table that have no molecule in common: by where its rows are.

Frames of one molecule, and visits to one binding site, lie at one place. Two halves that are made of whole cells of a
grid share none of them, however long a molecule is on and however often a site is visited; so what the two tell differs
by the whole of their errors.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from lls_decode.robust import robust_sd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_CELL_KERNELS: Final = (40.0, 20.0, 10.0)
"""Sides of a cell that are tried, in kernels: pairs of points over its border are lost."""
_MIN_CELLS: Final = 64
_BALANCE: Final = 2
"""Cells with about equally many points of which one goes to each half."""
_MAX_RATIO: Final = 4.0
"""Robust standard deviations beyond which a difference of halves counts no more: one of them found nothing."""
_POWERS: Final = np.linspace(0.4, 2.5, 22)
_BETTER: Final = 4.0
"""By so much (of the logarithm of the likelihood) a power explains the differences better if it is not to be 1."""


def cells_of(position_ND: npt.NDArray[np.floating], kernel_nm: Floats) -> Integers:
    """``(N,)`` number of the lateral cell of each point (at rest), as large as there are enough of them."""
    number = np.zeros(len(position_ND), dtype=np.int64)
    for kernels in _CELL_KERNELS:
        index = np.floor(position_ND[:, :2] / (kernels * kernel_nm[:2])).astype(np.int64)
        index -= index.min(axis=0)
        _, number = np.unique(index[:, 0] * (index[:, 1].max() + 1) + index[:, 1], return_inverse=True)
        if number.max() + 1 >= _MIN_CELLS:
            break
    return number


def halve(cell_N: Integers, seed: int) -> Flags:
    """``(N,)`` whether a point is in the first half: of cells with about equally many points, one in each."""
    count = np.bincount(cell_N)
    order = np.argsort(count, kind="stable")
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(count) + len(count) % _BALANCE, dtype=np.bool_)
    pairs = chosen.reshape(-1, _BALANCE)
    pairs[np.arange(len(pairs)), random.integers(0, _BALANCE, len(pairs))] = True
    first = np.zeros(len(count), dtype=np.bool_)
    first[order] = chosen[: len(count)]
    return np.asarray(first[cell_N])


def calibrate(sigma_WD: Floats, stated_RD: Floats, off_RD: Floats) -> Floats:
    """Standard deviations ``factor * sigma ** power`` that explain errors ``off`` of values that state ``stated``.

    The power is 1 unless another one is clearly more likely: of windows with few points and with many, those with few
    may state too little and those with many too much.
    """
    calibrated = np.empty_like(sigma_WD)
    for axis in range(sigma_WD.shape[1]):
        middle = float(np.median(stated_RD[:, axis]))
        stated, off = stated_RD[:, axis] / middle, off_RD[:, axis]
        fits = [(_cost(stated**power, off), power) for power in (1.0, *_POWERS)]
        (cost, factor), power = min(fits[1:])
        if cost > fits[0][0][0] - _BETTER:
            (_, factor), power = fits[0]
        calibrated[:, axis] = factor * (sigma_WD[:, axis] / middle) ** power
    return calibrated


def _cost(shape: Floats, off: Floats) -> tuple[float, float]:
    """Negative logarithm of the likelihood (normal distribution), and the factor; far outliers count as near ones."""
    ratio = off / shape
    usual = float(robust_sd(ratio))
    factor = max(float(np.sqrt(np.mean(np.minimum(np.abs(ratio), _MAX_RATIO * usual) ** 2))), 1e-9)
    return len(off) * float(np.log(factor)) + float(np.log(shape).sum()), factor
