"""Halves of a table that have no molecule in common, split by the positions of rows.

All frames of a molecule, and all visits to a binding site, lie at one place. Two halves made of whole grid cells
therefore share no molecule, however long it is on and however often the site is visited. So the errors of the drifts
measured from the two halves are independent.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from lls_decode.robust import robust_sd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_CELL_KERNELS: Final = (40.0, 20.0, 10.0)
"""Cell sizes that are tried, in kernels. Large cells are better, since pairs across borders are lost."""
_MIN_CELLS: Final = 64
_BALANCE: Final = 2
"""Number of cells with about equal numbers of points from which one cell goes to the first half."""
_MAX_RATIO: Final = 4.0
"""Limit of outliers, in robust standard deviations: a larger difference of the halves, where one of them failed, counts
only this much."""
_POWERS: Final = np.linspace(0.4, 2.5, 22)
_BETTER: Final = 4.0
"""Gain in log-likelihood above which a power other than 1 is used."""


def cells_of(position_ND: npt.NDArray[np.floating], kernel_nm: Floats) -> Integers:
    """Return the number ``(N,)`` of each point's lateral cell, with points at rest.

    Cells are as large as their count allows.
    """
    number = np.zeros(len(position_ND), dtype=np.int64)
    for kernels in _CELL_KERNELS:
        index = np.floor(position_ND[:, :2] / (kernels * kernel_nm[:2])).astype(np.int64)
        index -= index.min(axis=0)
        _, number = np.unique(index[:, 0] * (index[:, 1].max() + 1) + index[:, 1], return_inverse=True)
        if number.max() + 1 >= _MIN_CELLS:
            break
    return number


def halve(cell_N: Integers, seed: int) -> Flags:
    """Return whether each point is in the first half ``(N,)``; of two similarly full cells, one goes to each half."""
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
    """Calibrate standard deviations as ``factor * sigma ** power`` so that they explain the observed errors.

    ``stated_RD`` are the standard deviations stated for the values whose errors are ``off_RD``.

    The power is 1 unless another one is clearly more likely. Another power helps if windows with few points state too
    small deviations, and windows with many points too large ones.
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
    """Return the negative log-likelihood (normal distribution, outliers clipped) and the best factor."""
    ratio = off / shape
    usual = float(robust_sd(ratio))
    factor = max(float(np.sqrt(np.mean(np.minimum(np.abs(ratio), _MAX_RATIO * usual) ** 2))), 1e-9)
    return len(off) * float(np.log(factor)) + float(np.log(shape).sum()), factor
