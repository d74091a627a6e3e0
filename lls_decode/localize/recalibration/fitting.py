"""Maximum-likelihood fit of the curves that correct sigmas.

Errors are modelled as normal up to five sigma and by a power law beyond. A detection that was matched to the wrong
emitter therefore counts as five sigma, no matter how far away it is. Maximum likelihood alone would favour frequent
conditions over rare ones. To make sigmas correct in every condition, the loss also includes, summed over conditions,
the squared logarithm of the mean of (error / sigma)^2.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from lls_decode.config import ErrorFeature, SigmaCurve, SigmaTerm

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FARTHEST = 5.0
"""Number of sigmas to which larger errors are clipped."""
_NUM_KNOTS: Mapping[ErrorFeature, int] = {"sigma": 4, "position": 4, "near": 4, "crowd": 4, "bg": 3}
_KNOT_QUANTILES = (0.02, 0.98)
_LEAST_RANGE = 0.01
"""Smallest distance between the knots of a feature; a feature that varies less (a constant background) has no curve."""
_STEEPEST_FALL = 0.7
"""Largest negative slope of the curve for ``sigma``; below 1, so that a larger predicted sigma remains larger."""
_STIFFNESS = 1e-3
"""Weight of the sum of squared rises in the loss."""
_EVENNESS = 8.0
"""Weight of the loss term that makes sigmas correct in every condition."""
_FULL_WEIGHT = 100
"""Number of matches from which a condition has its full weight."""


def fit_sigmas(
    features: Mapping[ErrorFeature, npt.NDArray[np.float32]],
    sigma: npt.NDArray[np.float32],
    error: Floats,
    condition: Integers,
) -> SigmaCurve:
    """Fit the curves of the correction factor of a sigma.

    Parameters
    ----------
    features
        Features from `localize.calibrated.error_features`, each (M,).
    sigma, error
        Predicted sigma and measured error, both (M,) and in the same unit.
    condition
        Number of the condition of each match, (M,).
    """
    knots = {name: _knots(np.asarray(values, dtype=np.float64), _NUM_KNOTS[name]) for name, values in features.items()}
    knots = {name: found for name, found in knots.items() if len(found) > 1}
    ramps = [_ramps(np.asarray(features[name], dtype=np.float64), found) for name, found in knots.items()]
    design = np.concatenate([np.ones((len(sigma), 1)), *ramps], axis=1)
    bounds: list[tuple[float | None, float | None]] = [(None, None)]
    for name, found in knots.items():
        bounds += [(-_STEEPEST_FALL * length if name == "sigma" else 0.0, None) for length in np.diff(found)]
    log_sigma = np.log(np.asarray(sigma, dtype=np.float64))
    loss = _Loss(design, log_sigma, np.log(np.abs(error) + 1e-9), condition)
    rises = minimize(loss, np.zeros(design.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    terms, used = [], 1
    for name, found in knots.items():
        values = np.concatenate([[0.0], np.cumsum(rises[used : used + len(found) - 1])])
        used += len(found) - 1
        terms.append(SigmaTerm(feature=name, knots=_rounded(found), values=_rounded(values)))
    return SigmaCurve(offset=round(float(rises[0]), 6), terms=tuple(terms))


class _Loss:
    """Loss and its gradient as a function of the offset and the rises of the curves."""

    def __init__(self, design: Floats, log_sigma: Floats, log_error: Floats, condition: Integers) -> None:
        self._design, self._log_sigma, self._log_error, self._condition = design, log_sigma, log_error, condition
        count = np.bincount(condition)
        self._count = np.maximum(count, 1).astype(np.float64)
        weight = 1 / np.maximum(count, _FULL_WEIGHT)[condition]
        self._weight = weight / weight.sum()
        self._trust = count / (count + _FULL_WEIGHT) / len(count)

    def __call__(self, rises: Floats) -> tuple[float, Floats]:
        log_sigma = self._log_sigma + self._design @ rises
        square, is_far = clipped_square(self._log_error - log_sigma)
        beyond = np.where(is_far, FARTHEST**2 * (self._log_error - log_sigma - np.log(FARTHEST)), 0.0)
        value = float(self._weight @ (log_sigma + square / 2 + beyond))
        gradient = self._weight * (1 - square)
        mean = np.maximum(np.bincount(self._condition, square, len(self._count)) / self._count, 1e-3)
        uneven = np.log(mean)
        value += _EVENNESS * float(self._trust @ uneven**2) + _STIFFNESS * float(rises[1:] @ rises[1:])
        pull = _EVENNESS * 2 * self._trust * uneven / (mean * self._count)
        gradient += pull[self._condition] * np.where(is_far, 0.0, -2 * square)
        slope = self._design.T @ gradient
        slope[1:] += 2 * _STIFFNESS * rises[1:]
        return value, slope


def clipped_square(log_ratio: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return (error / sigma)^2, clipped at `FARTHEST` squared, from log(error / sigma), and where it was clipped."""
    is_far = log_ratio > np.log(FARTHEST)
    return np.exp(2 * np.minimum(log_ratio, np.log(FARTHEST))), is_far


def _knots(values: Floats, count: int) -> Floats:
    """Return knots at evenly spaced quantiles; fewer than two where the feature hardly varies."""
    found = np.unique(np.round(np.quantile(values, np.linspace(*_KNOT_QUANTILES, count)), 4))
    apart = np.concatenate([[True], np.diff(found) > _LEAST_RANGE])
    return np.asarray(found[apart])


def _ramps(values: Floats, knots: Floats) -> Floats:
    """Return the position of each value between each knot and the next, clipped to 0 ... 1, (M, K - 1)."""
    return np.clip((values[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)


def _rounded(values: Sequence[float] | Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
