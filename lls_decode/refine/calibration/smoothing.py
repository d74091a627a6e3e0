"""Smoothing of an averaged bead along z by a least-squares cubic spline with equidistant knots.

Shape letters: ``Z`` slices, ``Y X`` pixels, ``K`` knots.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import make_lsq_spline

Floats = npt.NDArray[np.float64]

_FEWEST_KNOTS = 5


@dataclass(frozen=True)
class SmoothVolume:
    """Values of the least-squares spline at equidistant knots; interpolating them gives the same spline."""

    volume_KYX: Floats
    first: float
    """Slice index of the first knot."""
    slices_a_knot: float


def smooth(slices: Floats, average_ZYX: Floats, slices_a_knot: float) -> SmoothVolume:
    """Fit a spline to the averaged bead along z.

    Parameters
    ----------
    slices
        Position of each slice, (Z,), equidistant.
    slices_a_knot
        Distance between the knots in the unit of ``slices``. If it does not exceed the distance between the slices, the
        average is returned unchanged.
    """
    span, step = slices[-1] - slices[0], slices[1] - slices[0]
    count = 1 + round(span / slices_a_knot)
    if count >= len(slices) or len(slices) <= _FEWEST_KNOTS:
        return SmoothVolume(average_ZYX, float(slices[0]), float(step))
    places = np.linspace(slices[0], slices[-1], max(count, _FEWEST_KNOTS))
    knots = np.concatenate([[places[0]] * 4, places[2:-2], [places[-1]] * 4])  # not-a-knot, as in the interpolation
    fitted = make_lsq_spline(slices, average_ZYX.reshape(len(slices), -1), knots, k=3)(places)
    return SmoothVolume(
        np.asarray(fitted).reshape(-1, *average_ZYX.shape[1:]), float(slices[0]), float(places[1] - places[0])
    )
