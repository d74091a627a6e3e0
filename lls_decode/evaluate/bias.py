"""Errors of matched rows, split into bias (mean) and spread, with the uncertainty of each.

Rows of one molecule share their error in part, so standard errors count molecules if the truth numbers them.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from lls_decode.evaluate.score import Comparison

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SIGNIFICANCE: Final = 1e-3
"""Significance level of a bias: the probability that chance alone gives a larger one (Student's t, two-sided)."""
QUANTITIES: Final = (
    ("x", "x_nm", "x_sig"),
    ("y", "y_nm", "y_sig"),
    ("z", "z_nm", "z_sig"),
    ("photons", "photons", "phot_sig"),
)
"""Name of a quantity, its column, and the column of its sigma."""


@dataclass(frozen=True)
class ErrorStatistics:
    """Errors (found minus true) of one quantity over matched rows; nm or photons."""

    quantity: str
    """``x``, ``y``, ``z`` or ``photons``."""
    num: int
    """Number of rows where the quantity is known on both sides."""
    num_independent: int
    """Number of molecules among these rows, or of rows if the truth does not number molecules; used for standard
    errors."""
    bias: float
    """Mean error."""
    bias_error: float
    """Standard error of ``bias``; NaN for fewer than two independent rows."""
    rmse: float
    rmse_error: float
    """Standard error of ``rmse``."""
    rmse_without_bias: float
    """Root mean square error about the mean error, i.e. what remains after the bias is subtracted."""
    zscore_mean: float
    """Mean of error / predicted sigma: 0 without bias, NaN without sigmas."""
    zscore_mean_error: float
    zscore_std: float
    """Standard deviation of error / predicted sigma: 1 if the sigmas are right."""
    zscore_std_error: float
    ratio: float
    """Median of found / true photons; NaN for positions."""
    ratio_error: float
    """Standard error of ``ratio``."""

    @property
    def is_biased(self) -> bool:
        """Whether the bias is significant at the level `SIGNIFICANCE`."""
        if not self.bias_error > 0:
            return False
        return abs(self.bias) > float(stdtrit(self.num_independent - 1, 1 - SIGNIFICANCE / 2)) * self.bias_error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "is_biased": bool(self.is_biased)}


def error_statistics(comparison: Comparison) -> tuple[ErrorStatistics, ...]:
    """Return the error statistics of each quantity that some matched row has on both sides."""
    true, seen = comparison.true, comparison.seen
    found = []
    for quantity, value, sigma in QUANTITIES:
        error = getattr(seen, value) - getattr(true, value)
        known = np.isfinite(error)
        if known.any():
            ratio = getattr(seen, value) / getattr(true, value) if quantity == "photons" else None
            found.append(
                _statistics(
                    quantity,
                    error[known],
                    getattr(seen, sigma)[known],
                    true.id[known],
                    None if ratio is None else ratio[known & (true.photons > 0)],
                )
            )
    return tuple(found)


def _statistics(
    quantity: str, error: Floats, sigma: Floats, molecule: Integers, ratio: Floats | None
) -> ErrorStatistics:
    bias, bias_error, num = mean_with_error(error, molecule)
    square, square_error, _ = mean_with_error(error**2, molecule)
    rmse = math.sqrt(square)
    usable = np.isfinite(sigma) & (sigma > 0)
    scaled, owner = error[usable] / sigma[usable], molecule[usable]
    z_mean, z_mean_error, _ = mean_with_error(scaled, owner)
    z_square, z_square_error, _ = mean_with_error((scaled - z_mean) ** 2, owner)
    z_std = math.sqrt(z_square)
    middle, middle_error = median_with_error(ratio)
    return ErrorStatistics(
        quantity=quantity,
        num=len(error),
        num_independent=num,
        bias=bias,
        bias_error=bias_error,
        rmse=rmse,
        rmse_error=square_error / (2 * rmse) if rmse > 0 else math.nan,
        rmse_without_bias=math.sqrt(max(square - bias**2, 0.0)),
        zscore_mean=z_mean,
        zscore_mean_error=z_mean_error,
        zscore_std=z_std,
        zscore_std_error=z_square_error / (2 * z_std) if z_std > 0 else math.nan,
        ratio=middle,
        ratio_error=middle_error,
    )


def mean_with_error(values: Floats, molecule: Integers) -> tuple[float, float, int]:
    """Return the mean of values, its standard error, and the number of independent values.

    Rows of one molecule (equal numbers of 0 or more) count as one draw of their sum; the error is that of a ratio of
    sums over clusters (Cochran, Sampling Techniques, 1977, chapter 9). Rows without a number are independent.
    """
    if not len(values):
        return math.nan, math.nan, 0
    mean = float(values.mean())
    owner = np.where(molecule >= 0, molecule, molecule.max(initial=-1) + 1 + np.arange(len(values)))
    _, place = np.unique(owner, return_inverse=True)
    sums = np.bincount(place, values - mean)
    num = len(sums)
    if num < 2:
        return mean, math.nan, num
    return mean, float(math.sqrt(num / (num - 1) * (sums**2).sum()) / len(values)), num


def median_with_error(values: Floats | None) -> tuple[float, float]:
    """Return the median and its standard error, from the order statistics one binomial standard deviation around it."""
    known = np.empty(0) if values is None else np.sort(values[np.isfinite(values)])
    if not len(known):
        return math.nan, math.nan
    if len(known) < 2:
        return float(known[0]), math.nan
    half = 0.5 / math.sqrt(len(known))
    low, high = np.quantile(known, [max(0.5 - half, 0.0), min(0.5 + half, 1.0)])
    return float(np.median(known)), float(high - low) / 2
