"""Statistics that a few outliers do not move."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAD_TO_SD: Final = 1.4826
"""Standard deviation of normally distributed values, over their median absolute deviation."""


def robust_sd(values: npt.NDArray[Any], axis: int | None = None) -> Any:
    """Standard deviation as the median absolute deviation from the median tells it; of all values, or along an axis."""
    return MAD_TO_SD * np.median(np.abs(values - np.median(values, axis=axis, keepdims=True)), axis=axis)
