"""Correlation between the errors of one molecule in neighbouring frames."""

import numpy as np
import numpy.typing as npt

from lls_decode.axes import ContextKind
from lls_decode.config import ErrorCorrelation
from lls_decode.localize.recalibration.fitting import FARTHEST

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_FEWEST_PAIRS = 300
_MOST_FRAMES = 8


def measure_correlation(
    ratio: dict[str, Floats], condition: Integers, molecule: Integers, window: Integers, *, context: ContextKind
) -> ErrorCorrelation:
    """Correlate error / sigma over all pairs of detections of one molecule, as a function of their distance in frames.

    Negative correlations count as 0. A series ends at the distance for which fewer than 300 pairs are left.

    Parameters
    ----------
    ratio
        Error / sigma of ``x``, ``y`` and, for 3-D models, ``z``; each (M,).
    condition, molecule, window
        Condition, number of the molecule in this condition, and frame of each detection; each (M,). Frames ascend along
        a sequence.
    """
    order = np.lexsort((window, molecule, condition))
    condition, molecule, window = condition[order], molecule[order], window[order]
    found: dict[str, tuple[float, ...]] = {}
    for axis in ("x", "y", "z"):
        values = np.clip(ratio.get(axis, np.empty(0)), -FARTHEST, FARTHEST)
        if len(values):
            found[axis] = _by_distance(values[order], condition, molecule, window)
    return ErrorCorrelation(
        along="plane" if context == "plane" else "time", x=found["x"], y=found["y"], z=found.get("z", ())
    )


def _by_distance(ratio: Floats, condition: Integers, molecule: Integers, window: Integers) -> tuple[float, ...]:
    """Return the correlations of errors 1, 2, ... frames apart, from rows sorted by molecule, then by frame."""
    series: list[float] = []
    for apart in range(1, _MOST_FRAMES):
        products, squares = [], []
        for rows in range(1, apart + 1):  # a molecule may be missed in frames in between
            one, other = slice(None, -rows), slice(rows, None)
            same = (condition[one] == condition[other]) & (molecule[one] == molecule[other])
            same &= window[other] - window[one] == apart
            products.append((ratio[one] * ratio[other])[same])
            squares.append((ratio[one] ** 2 + ratio[other] ** 2)[same] / 2)
        product, square = np.concatenate(products), np.concatenate(squares)
        if len(product) < _FEWEST_PAIRS:
            break
        series.append(round(float(np.clip(product.sum() / square.sum(), 0.0, 1.0)), 4))
    while series and series[-1] == 0:
        series.pop()
    return tuple(series)
