"""Correction of a network's sigmas and probabilities by the calibration of its model.

The sigmas that a network learns are at best right on average over its training frames: too large for isolated emitters,
too small for emitters with close neighbours. They are multiplied by a correction factor. The logarithm of this factor
is a sum of monotone curves, one for each of the features

* ``sigma``: logarithm of the sigma itself;
* ``position``: mean logarithm of the sigmas of x, y and z;
* ``near``: logarithm of the expected number of other emitters in the surrounding 5 x 5 pixels, per photon of this one;
* ``crowd``: logarithm of the expected number of other emitters in the surrounding 9 x 9 pixels;
* ``bg``: logarithm of the background.

All features are computed from the pixels around the detection, so the result does not depend on the division of frames
into tiles. Arrays are float32; a curve is a sum of ramps and takes a few operations per row.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from lls_decode.config import Curve, ErrorCalibration, ErrorFeature, SigmaCurve
from lls_decode.localize.detect import Detections

Floats = npt.NDArray[np.float32]
Columns = dict[str, Floats]

SIGMAS: Final = {"x": "x_sig", "y": "y_sig", "z": "z_sig", "photons": "phot_sig"}
"""Column of the sigma of each quantity."""
_LEAST = np.float32(1e-6)
_LEAST_NEAR, _LEAST_CROWD = np.float32(0.03), np.float32(0.1)
"""Offsets added to ``near`` and ``crowd`` before the logarithm: the residual probability around isolated emitters."""
_LEAST_BG = np.float32(0.1)


def calibrated(columns: Columns, found: Detections, calibration: ErrorCalibration) -> Columns:
    """Return the columns with calibrated sigmas and probabilities; all (D,) float32."""
    changed = {}
    for quantity, name in SIGMAS.items():
        curve = getattr(calibration, quantity)
        if curve is not None:
            features = error_features(columns, found, quantity, with_z=calibration.z is not None)
            changed[name] = columns[name] * np.exp(log_factor(features, curve))
    if calibration.prob is not None:
        changed["prob"] = curve_at(columns["prob"], calibration.prob)
    return columns | changed


def error_features(columns: Columns, found: Detections, quantity: str, *, with_z: bool) -> dict[ErrorFeature, Floats]:
    """Return the features of the error curves, each (D,).

    The sigmas in ``columns`` are those of the network times the factors of the model.

    Parameters
    ----------
    quantity
        ``x``, ``y``, ``z`` or ``photons``.
    with_z
        False for 2-D models, whose sigma of z is meaningless.
    """
    axes = ("x", "y", "z") if with_z else ("x", "y")
    position = [_log(columns[SIGMAS[axis]]) for axis in axes]
    photons = _log(np.maximum(columns["photons"], np.float32(1)))
    return {
        "sigma": _log(columns[SIGMAS[quantity]]),
        "position": np.mean(position, axis=0, dtype=np.float32),
        "near": _log(found.near + _LEAST_NEAR) - photons,
        "crowd": _log(found.crowd + _LEAST_CROWD),
        "bg": _log(np.maximum(columns["bg"], _LEAST_BG)),
    }


def log_factor(features: dict[ErrorFeature, Floats], curve: SigmaCurve) -> Floats:
    """Return the logarithm of the factor of each sigma, (D,)."""
    total = np.full(len(next(iter(features.values()))), curve.offset, dtype=np.float32)
    for term in curve.terms:
        total += curve_at(features[term.feature], term)
    return total


def curve_at(x: Floats, curve: Curve) -> Floats:
    """Return the values of a curve at each x, (D,) float32."""
    total = np.full(len(x), curve.values[0], dtype=np.float32)
    knots, values = np.array(curve.knots, dtype=np.float32), np.array(curve.values, dtype=np.float32)
    for low, high, rise in zip(knots[:-1], knots[1:], np.diff(values), strict=True):
        total += np.clip((x - low) / (high - low), 0, 1) * rise
    return total


def _log(values: Floats) -> Floats:
    return np.log(np.maximum(values, _LEAST))
