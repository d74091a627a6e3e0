"""Halves of a table that have no molecule in common: by where its rows are.

Frames of one molecule, and visits to one binding site, lie at one place. Two halves that are made of whole cells of a
grid share none of them, however long a molecule is on and however often a site is visited; so what the two tell differs
by the whole of their errors.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_CELL_KERNELS: Final = (40.0, 20.0, 10.0)
"""Sides of a cell that are tried, in kernels: pairs of points over its border are lost."""
_MIN_CELLS: Final = 64
_BALANCE: Final = 2
"""Cells with about equally many points of which one goes to each half."""


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
