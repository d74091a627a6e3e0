"""An averaged bead along z as a least-squares cubic spline with equidistant knots.

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
    """Values at equidistant knots; the interpolating spline through them is the least-squares spline."""

    volume_KYX: Floats
    first: float
    """Slice of the first knot."""
    slices_a_knot: float


def smooth(slices: Floats, average_ZYX: Floats, slices_a_knot: float) -> SmoothVolume:
    """Fit the average along z.

    Parameters
    ----------
    slices
        Position of each slice, (Z,), equidistant.
    slices_a_knot
        Distance of the knots in the unit of ``slices``; at or below that of the slices, the average is left as it is.
    """
    span, step = slices[-1] - slices[0], slices[1] - slices[0]
    count = 1 + round(span / slices_a_knot)
    if count >= len(slices) or len(slices) <= _FEWEST_KNOTS:
        return SmoothVolume(average_ZYX, float(slices[0]), float(step))
    places = np.linspace(slices[0], slices[-1], max(count, _FEWEST_KNOTS))
    knots = np.concatenate([[places[0]] * 4, places[2:-2], [places[-1]] * 4])  # not-a-knot, as the interpolation has it
    fitted = make_lsq_spline(slices, average_ZYX.reshape(len(slices), -1), knots, k=3)(places)
    return SmoothVolume(
        np.asarray(fitted).reshape(-1, *average_ZYX.shape[1:]), float(slices[0]), float(places[1] - places[0])
    )
