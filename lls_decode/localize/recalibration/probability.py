"""What a summed probability means: the share of right detections among those that have it."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from lls_decode.config import Curve

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_BINS = 8
_FEWEST = 200
"""Detections below 1 from which a curve is fitted."""


def fit_probability(prob: Floats, is_right: Mask, weight: Floats) -> Curve | None:
    """Fit a monotone curve to the share of right detections; None for too few.

    Bins of equally many detections below 1, and one of those at 1, are made monotone (isotonic regression). A
    probability of 0 is right never: below all detections, the curve runs to there.

    Parameters
    ----------
    prob, is_right, weight
        All (D,).
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
