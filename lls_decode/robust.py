"""Statistics that are robust against outliers."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAD_TO_SD: Final = 1.4826
"""Ratio of the standard deviation to the median absolute deviation of normally distributed values."""


def robust_sd(values: npt.NDArray[Any], axis: int | None = None) -> Any:
    """Estimate the standard deviation from the median absolute deviation, of all values or along an axis."""
    return MAD_TO_SD * np.median(np.abs(values - np.median(values, axis=axis, keepdims=True)), axis=axis)
