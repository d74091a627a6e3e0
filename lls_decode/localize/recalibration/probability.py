"""Calibration of summed probabilities, so that they equal the share of correct detections."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from lls_decode.config import Curve

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_BINS = 8
_FEWEST = 200
"""Smallest number of detections with a probability below 1 for which a curve is fitted."""


def fit_probability(prob: Floats, is_right: Mask, weight: Floats) -> Curve | None:
    """Fit a monotone curve to the share of correct detections; return None for too few detections.

    Detections with probabilities below 1 are divided into bins of equal counts; those at 1 form another bin. Isotonic
    regression makes the shares of the bins monotone. Below the first bin, the curve runs to 0 at a probability of 0.

    Parameters
    ----------
    prob, is_right, weight
        Summed probability, correctness and weight of each detection, all (D,).
    """
    below = np.flatnonzero(prob < 1)
    if len(below) < _FEWEST:
        return None
    rows = [*np.array_split(below[np.argsort(prob[below], kind="stable")], _BINS), np.flatnonzero(prob >= 1)]
    rows = [part for part in rows if len(part)]
    place = np.array([np.average(prob[part], weights=weight[part]) for part in rows])
    share = np.array([np.average(is_right[part], weights=weight[part]) for part in rows])
    share = isotonic_regression(share, weights=np.array([weight[part].sum() for part in rows])).x
    apart = np.concatenate([[True], np.diff(place) > 1e-4])
    knots, values = (np.concatenate([[0.0], each[apart]]) for each in (place, share))
    return Curve(knots=tuple(np.round(knots, 5).tolist()), values=tuple(np.round(values, 5).tolist()))
