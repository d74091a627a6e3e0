"""Reliability of predicted sigmas and probabilities: matched errors compared with predictions.

Shape letters: ``M`` matched rows, ``K`` coordinates of one quantity (1, or 3 for the position as a whole).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.evaluate.score import Comparison

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MIN_REPEATS = 10
"""Smallest number of detections of a molecule from which its own r.m.s.e. is computed."""
_BINS = 10
_PROBABILITY_EDGES = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True)
class Reliability:
    """Predicted and measured values, bin by bin; all tuples have the same length."""

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    error: tuple[float, ...]
    """Standard error of ``measured``."""
    num: tuple[int, ...]


@dataclass(frozen=True)
class SigmaAgreement:
    """Errors of one quantity compared with its predicted sigmas, over matched rows that have both."""

    quantity: str
    """``x``, ``y``, ``z`` (nm), ``photons``; ``position`` is the length of the error in all known coordinates."""
    num: int
    rmse: float
    sigma_rms: float
    """Root mean square of the predicted sigmas, which ``rmse`` should equal."""
    zscore: float
    """Standard deviation of error / sigma: 1 if sigmas are right; NaN for ``position``."""
    correlation: float
    """Pearson correlation, over rows, of abs(error) and sigma. It is small even for perfect sigmas, since each error is
    a single draw."""
    correlation_if_right: float
    """Expected ``correlation`` if errors were normally distributed with exactly these sigmas; NaN for ``position``."""
    emitter_correlation: float
    """Pearson correlation, over molecules with at least `MIN_REPEATS` detections, of r.m.s.e. and mean sigma.

    As in Fig. 2b of Speiser et al. (2021), where one dense configuration is simulated 100 times; needs a truth in which
    each ``id`` occurs repeatedly. All detections of a molecule are pooled, whatever its neighbours and photons at the
    time.
    """
    num_emitters: int
    curve: Reliability
    """R.m.s.e. against r.m.s. sigma, in bins of equal numbers of rows, by sigma."""


def sigma_agreements(comparison: Comparison) -> tuple[SigmaAgreement, ...]:
    """Return the agreement of errors and sigmas for each quantity that has sigmas."""
    true, seen = comparison.true, comparison.seen
    error = {axis: getattr(seen, f"{axis}_nm") - getattr(true, f"{axis}_nm") for axis in "xyz"}
    sigma = {axis: getattr(seen, f"{axis}_sig") for axis in "xyz"}
    error["photons"], sigma["photons"] = seen.photons - true.photons, seen.phot_sig
    known = [name for name in error if (np.isfinite(error[name]) & (sigma[name] > 0)).any()]
    axes = [name for name in known if name != "photons"]
    parts = {name: (error[name][:, None], sigma[name][:, None]) for name in known}
    if len(axes) > 1:
        parts["position"] = tuple(np.stack([of[axis] for axis in axes], axis=1) for of in (error, sigma))  # type: ignore[assignment]
    return tuple(_agreement(name, *arrays, true.id) for name, arrays in parts.items())


def probability_reliability(comparison: Comparison) -> Reliability:
    """Return the share of correct detections against the mean predicted probability, in tenths without empty bins."""
    prob = np.concatenate([comparison.seen.prob, comparison.spurious.prob])
    right = np.arange(len(prob)) < len(comparison.seen)
    known = np.isfinite(prob)
    return share_right(prob[known], right[known])


def share_right(prob: Floats, right: npt.NDArray[np.bool_]) -> Reliability:
    """Return the share of correct detections against their probability, in tenths; both inputs are (D,)."""
    place = np.clip(np.digitize(prob, _PROBABILITY_EDGES) - 1, 0, len(_PROBABILITY_EDGES) - 2)
    rows = []
    for number in np.unique(place):
        inside = place == number
        share, num = float(right[inside].mean()), int(inside.sum())
        rows.append((float(prob[inside].mean()), share, math.sqrt(share * (1 - share) / num), num))
    return _reliability(rows)


def reliability(error: Floats, sigma: Floats, *, bins: int = _BINS) -> Reliability:
    """Return r.m.s.e. against r.m.s. sigma, in bins of equal numbers of rows by sigma; both inputs are (M,)."""
    order = np.argsort(sigma, kind="stable")
    rows = []
    for part in np.array_split(order, min(bins, len(order))) if len(order) else ():
        square = error[part] ** 2
        rmse = math.sqrt(square.mean())
        spread = square.std() / math.sqrt(len(part)) / (2 * rmse) if rmse > 0 else 0.0
        rows.append((_rms(sigma[part]), rmse, float(spread), len(part)))
    return _reliability(rows)


def _reliability(rows: list[tuple[float, float, float, int]]) -> Reliability:
    columns = tuple(zip(*rows, strict=True)) if rows else ((), (), (), ())
    return Reliability(*columns)


def _agreement(quantity: str, error_MK: Floats, sigma_MK: Floats, id_M: Integers) -> SigmaAgreement:
    usable = (np.isfinite(error_MK) & np.isfinite(sigma_MK) & (sigma_MK > 0)).all(axis=1)
    error_MK, sigma_MK, id_M = error_MK[usable], sigma_MK[usable], id_M[usable]
    single = error_MK.shape[1] == 1
    error, sigma = (np.sqrt((values**2).sum(axis=1)) for values in (error_MK, sigma_MK))
    by_emitter, num_emitters = _over_emitters(error, sigma, id_M)
    return SigmaAgreement(
        quantity=quantity,
        num=len(error),
        rmse=_rms(error),
        sigma_rms=_rms(sigma),
        zscore=float(np.std(error_MK / sigma_MK)) if single and len(error) else math.nan,
        correlation=pearson(error, sigma),
        correlation_if_right=_half_normal_correlation(sigma) if single else math.nan,
        emitter_correlation=by_emitter,
        num_emitters=num_emitters,
        curve=reliability(error, sigma),
    )


def _over_emitters(error: Floats, sigma: Floats, id_M: Integers) -> tuple[float, int]:
    """Return the correlation over molecules, and the number of molecules."""
    known = id_M >= 0
    _, place, num = np.unique(id_M[known], return_inverse=True, return_counts=True)
    often = num >= MIN_REPEATS
    if not often.any():
        return math.nan, 0
    rmse = np.sqrt(np.bincount(place, error[known] ** 2) / num)[often]
    mean_sigma = (np.bincount(place, sigma[known]) / num)[often]
    return pearson(rmse, mean_sigma), int(often.sum())


def _half_normal_correlation(sigma: Floats) -> float:
    """Return the correlation of abs(sigma * n) and sigma, for n standard normal."""
    if len(sigma) < 2 or not sigma.std() > 0:
        return math.nan
    mean_abs = math.sqrt(2 / math.pi)
    return float(mean_abs * sigma.std() / math.sqrt(np.mean(sigma**2) - (mean_abs * sigma.mean()) ** 2))


def pearson(a: Floats, b: Floats) -> float:
    """Return the correlation coefficient; NaN for fewer than two rows, or if either input is constant."""
    if len(a) < 2 or not (a.std() > 0 and b.std() > 0):
        return math.nan
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else math.nan
