"""Mistakes that remain visible when rows match: wrong place, pixel size, depth or unit of photons.

Each function returns the changed truth if the evidence is strong, else the change that it was given.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from lls_decode.config import PixelSize
from lls_decode.evaluate.bias import mean_with_error
from lls_decode.evaluate.diagnosis.change import TruthChange
from lls_decode.evaluate.diagnosis.sample import Sample
from lls_decode.evaluate.diagnosis.search import fit_place

Floats = npt.NDArray[np.float64]

FEWEST: Final = 20
"""Number of matches below which no mistake is reported."""
_FEWEST_FOR_SCALE: Final = 10
"""Number of matches required for a scale. A wrong factor leaves only a few matches near the origin, whose errors grow
with the distance from it."""
_SIGMAS: Final = 5.0
_TIGHTER: Final = 0.85
"""Ratio by which a factor must reduce the spread of errors."""
_LARGE: Final = 0.75
"""Offset, in units of the spread of errors, that is too large to be an error of a model's positions."""
_ON_GRID: Final = 0.1
"""Tolerance, in pixels, within which an offset counts as a multiple of half a pixel."""
_SMALL_ON_GRID: Final = 0.3
"""Offset, in units of the spread of errors, above which multiples of half a pixel are reported."""
_UNLIKE: Final = 1.15
_PHOTONS_UNLIKE: Final = 1.5
"""Factor, up or down, between median photons above which another unit is suspected."""
_CHANCE: Final = 1e-6
"""Probability that chance gives a correlation as negative as one that is called negative."""
_TO_SIGMA: Final = 1.4826
_MOST_SLOPES: Final = 400


@dataclass(frozen=True)
class Residuals:
    """Found minus true positions of rows that match in x and y, with their z, photons and molecules; all (M,)."""

    dx_nm: Floats
    dy_nm: Floats
    z_true_nm: Floats
    z_seen_nm: Floats
    photons_true: Floats
    photons_seen: Floats
    molecule: npt.NDArray[np.int64]


def residuals(sample: Sample, change: TruthChange) -> Residuals:
    """Return the errors under a change, whatever z and photons are."""
    truth, matches = sample.lateral_matches(change)
    true, seen = truth.select(matches.truth), sample.found.select(matches.found)
    return Residuals(
        seen.x_nm - true.x_nm, seen.y_nm - true.y_nm, true.z_nm, seen.z_nm, true.photons, seen.photons, true.id
    )


def wrong_scale(sample: Sample, change: TruthChange) -> TruthChange:
    """Fit a factor of x and y to the matches."""
    before = residuals(sample, change)
    num = len(before.dx_nm)
    if num < _FEWEST_FOR_SCALE:
        return change
    fitted = fit_place(sample, change, with_scale=True)
    moved = fit_place(sample, change, with_scale=False)
    spread, plain = (_lateral_spread(residuals(sample, item)) for item in (fitted, moved))
    lever = math.hypot(*(float(np.std(getattr(sample.found, f"{axis}_nm"))) for axis in "xy"))
    error = spread / (lever * math.sqrt(_num_independent(before.molecule))) if lever > 0 else math.inf
    if not (spread < _TIGHTER * plain and abs(fitted.scale / change.scale - 1) > _SIGMAS * (1 + 10 / num) * error):
        return change
    slack = 1 + 2 / math.sqrt(num)
    unmoved = replace(change, shift_nm=(0.0, 0.0, change.shift_nm[2]))
    for start in (unmoved, change):  # a translation found before may only have stood in for the factor
        alone = fit_place_without_shift(sample, fitted, start)
        if _lateral_spread(residuals(sample, alone), centred=False) <= slack * spread:
            return alone
    return fitted


def fit_place_without_shift(sample: Sample, fitted: TruthChange, change: TruthChange) -> TruthChange:
    """Fit only the factor about the origin, starting from one that was fitted together with a translation."""
    factor = fitted.scale / change.scale
    shift = change.shift_nm
    for _ in range(3):
        now = replace(change, scale=change.scale * factor, shift_nm=(shift[0] * factor, shift[1] * factor, shift[2]))
        truth, matches = sample.lateral_matches(now)
        true = np.stack([truth.x_nm, truth.y_nm], axis=1)[matches.truth]
        error = np.stack([sample.found.x_nm, sample.found.y_nm], axis=1)[matches.found] - true
        length = np.hypot(*error.T)
        keep = length <= 3 * max(float(np.median(length)) if len(length) else 0.0, 1e-9)
        if keep.sum() < 3:
            break
        factor *= 1 + float((error[keep] * true[keep]).sum() / (true[keep] ** 2).sum())
    return replace(change, scale=change.scale * factor, shift_nm=(shift[0] * factor, shift[1] * factor, shift[2]))


def wrong_place(sample: Sample, change: TruthChange, pixel: PixelSize | None) -> TruthChange:
    """Fit a translation in x and y; multiples of half a pixel are recognized."""
    change = _on_grid(change, pixel)
    before = residuals(sample, change)
    if len(before.dx_nm) < FEWEST:
        return change
    fitted = fit_place(sample, change, with_scale=False)
    added = [new - old for new, old in zip(fitted.shift_nm[:2], change.shift_nm[:2], strict=True)]
    after = residuals(sample, fitted)
    errors = [mean_with_error(_clipped(d), after.molecule)[1] for d in (after.dx_nm, after.dy_nm)]
    spreads = [_spread(d) for d in (after.dx_nm, after.dy_nm)]
    significant = [abs(d) > _SIGMAS * error for d, error in zip(added, errors, strict=True)]
    if not any(significant):
        return change
    halves = half_pixels((added[0], added[1]), pixel)
    least = _SMALL_ON_GRID if halves is not None else _LARGE
    large = any(
        is_one and abs(d) > least * spread for is_one, d, spread in zip(significant, added, spreads, strict=True)
    )
    if not large:
        return change
    if halves is not None and pixel is not None:
        added = [halves[0] * pixel.x_nm / 2, halves[1] * pixel.y_nm / 2]
    else:
        added = [d if is_one else 0.0 for d, is_one in zip(added, significant, strict=True)]
    old = change.shift_nm
    return replace(change, shift_nm=(old[0] + added[0], old[1] + added[1], old[2]))


def _on_grid(change: TruthChange, pixel: PixelSize | None) -> TruthChange:
    """Round a translation that was already found to the multiple of half a pixel that it is near."""
    halves = None if "-" in "".join(change.axes[:2]) else half_pixels((change.shift_nm[0], change.shift_nm[1]), pixel)
    if halves is None or pixel is None:
        return change
    return replace(change, shift_nm=(halves[0] * pixel.x_nm / 2, halves[1] * pixel.y_nm / 2, change.shift_nm[2]))


def half_pixels(shift_nm: tuple[float, float], pixel: PixelSize | None) -> tuple[int, int] | None:
    """Return a translation in half pixels, not both 0; None if it is not a multiple of half a pixel."""
    if pixel is None:
        return None
    steps = (2 * shift_nm[0] / pixel.x_nm, 2 * shift_nm[1] / pixel.y_nm)
    whole = (round(steps[0]), round(steps[1]))
    near = all(abs(step - number) <= _ON_GRID * 2 for step, number in zip(steps, whole, strict=True))
    return whole if near and any(whole) else None


def wrong_depth(sample: Sample, change: TruthChange) -> TruthChange:
    """Detect a z that is mirrored, shifted, or in another unit."""
    found = residuals(sample, change)
    known = np.isfinite(found.z_true_nm) & np.isfinite(found.z_seen_nm)
    near = np.hypot(found.dx_nm, found.dy_nm)
    if known.sum() < FEWEST:
        return change
    known &= near <= np.quantile(near[known], 0.7)  # chance matches are rarely near
    true, seen, molecule = found.z_true_nm[known], found.z_seen_nm[known], found.molecule[known]
    if not np.ptp(true) > 0 or not np.ptp(seen) > 0:
        return change
    from scipy.stats import spearmanr  # slow to import

    sign, num = 1.0, _num_independent(molecule)
    correlation = float(spearmanr(true, seen).statistic)
    mirrored = _is_opposite(correlation, num) and _spread(seen + true) < 0.6 * _spread(seen - true)
    if mirrored:
        sign = -1.0
    factor = _depth_factor(sign * true, seen)
    offset = float(np.median(seen - sign * factor * true))
    rest = seen - sign * factor * true - offset
    error = mean_with_error(_clipped(rest), molecule)[1] * math.sqrt(math.pi / 2)
    if not (abs(offset) > _SIGMAS * error and abs(offset) > _LARGE * _spread(rest)):
        offset = 0.0
    if not mirrored and factor == 1 and not offset:
        return change
    axis = change.axes[2]
    turned = axis[1:] if axis.startswith("-") else f"-{axis}"
    return replace(
        change,
        axes=(*change.axes[:2], turned if mirrored else axis),
        z_scale=change.z_scale * factor,
        shift_nm=(*change.shift_nm[:2], sign * factor * change.shift_nm[2] + offset),
    )


def _is_opposite(correlation: float, num: int) -> bool:
    """Whether a correlation is significantly negative (Student's t)."""
    if num < 3 or abs(correlation) >= 1:  # t is infinite at 1 and -1
        return correlation <= -1
    return bool(stdtr(num - 2, correlation * math.sqrt((num - 2) / (1 - correlation**2))) < _CHANCE)


def _depth_factor(true: Floats, seen: Floats) -> float:
    """Return the factor of z, by the median slope of Theil and Sen; 1 unless it clearly differs from 1."""
    from scipy.stats import theilslopes  # slow to import

    chosen = np.random.default_rng(0).permutation(len(true))[:_MOST_SLOPES]
    slope, _, low, high = theilslopes(seen[chosen], true[chosen], 0.999)
    if not (slope > 0 and (low > _UNLIKE or high < 1 / _UNLIKE)):
        return 1.0
    tighter = _spread(seen - slope * true) < _TIGHTER * _spread(seen - true)
    return float(slope) if tighter else 1.0


def wrong_photons(sample: Sample, change: TruthChange) -> TruthChange:
    """Detect photons in another unit, by a median ratio far from 1."""
    found = residuals(sample, change)
    known = np.isfinite(found.photons_seen) & (found.photons_true > 0) & (found.photons_seen > 0)
    if known.sum() < FEWEST:
        return change
    ratio = np.log(found.photons_seen[known] / found.photons_true[known])
    middle = float(np.median(ratio))
    error = mean_with_error(_clipped(ratio), found.molecule[known])[1] * math.sqrt(math.pi / 2)
    if not (abs(middle) > math.log(_PHOTONS_UNLIKE) and abs(middle) > math.log(_PHOTONS_UNLIKE) + _SIGMAS * error):
        return change
    return replace(change, photons_factor=change.photons_factor * math.exp(middle))


def _spread(values: Floats) -> float:
    """Return the robust standard deviation about the median."""
    return _TO_SIGMA * float(np.median(np.abs(values - np.median(values)))) if len(values) else math.nan


def _lateral_spread(found: Residuals, *, centred: bool = True) -> float:
    if centred:
        return math.hypot(_spread(found.dx_nm), _spread(found.dy_nm))
    return _TO_SIGMA * math.hypot(*(float(np.median(np.abs(d))) for d in (found.dx_nm, found.dy_nm)))


def _clipped(values: Floats) -> Floats:
    """Clip values at three robust standard deviations from the median."""
    middle, reach = np.median(values), 3 * _spread(values)
    return np.asarray(np.clip(values, middle - reach, middle + reach))


def _num_independent(molecule: npt.NDArray[np.int64]) -> int:
    known = molecule >= 0
    return len(np.unique(molecule[known])) + int((~known).sum())
