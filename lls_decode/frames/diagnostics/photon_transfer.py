"""Estimate of camera gain and offset from a movie, by variance against mean of each pixel in time (photon transfer).

For a camera that counts photo-electrons with a gain, ``variance = gain * (mean - offset) + read noise``. The slope over
pixels with different light is therefore the gain, and the line crosses zero at the offset (too low by read noise /
gain, about one count). Blinking molecules would add variance. Therefore only spatial frequencies beyond the resolution
of the lens, which contain nothing but noise, are used from the differences of consecutive frames. Janesick, Photon
Transfer (SPIE 2007); the use of frequencies beyond the resolution follows Heintzmann et al., arXiv:1611.05654.

Shape letters: ``n`` pairs of frames, ``Y X`` pixels.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve, uniform_filter

from lls_decode.frames.reading.stack import Frames

Floats = npt.NDArray[np.float64]

_NUM_LEVELS = 40
_FEWEST_PAIRS = 8
_TRUNCATED_AT = 2.5
_TRUNCATED_VARIANCE = 0.9113
"""Variance of a standard normal distribution truncated at +-2.5 sigma."""
_ROUGH = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6
"""High-pass filter with sum of squares 1, which passes pixel noise but hardly any light focused by a lens."""
_SMOOTH_PX = 7
"""Side of the square over which light is averaged before pixels are sorted by it, so that pixel offsets cancel."""
_LARGEST_ERROR = 0.06
"""Largest relative standard error of the gain at which an estimate is returned."""
_NOISY = 4.0
"""Factor by which the variance of a noisy pixel exceeds that of its neighbours and that expected from the line."""
_FEWEST_NOISY, _NOISY_SHARE = 5, 2e-4
_PAIRS_FOR_PIXELS = 16


@dataclass(frozen=True)
class CameraGuess:
    """Estimate of the camera from its noise; a calibration with dark and bright frames is more reliable."""

    gain_adu_per_e: float
    """Counts per photo-electron, if there is no excess noise; for an EMCCD twice the product of its gains."""
    gain_error: float
    """Standard error of the gain."""
    offset_adu: float
    """Counts without light, too low by read noise / gain."""
    noisy_fraction: float | None
    """Fraction of pixels that are much noisier than their neighbours; None if there are too few frames."""
    looks_like: Literal["sCMOS", "CCD or EMCCD"] | None


def guess_camera(pairs: list[tuple[Frames, Frames]]) -> CameraGuess | str:
    """Fit the photon transfer line.

    Parameters
    ----------
    pairs
        First and second frames ``(n, Y, X)`` of pairs of consecutive frames, for each plane.

    Returns
    -------
    CameraGuess or str
        The estimate, or the reason why there is none.
    """
    pairs = [(first, second) for first, second in pairs if len(first) >= _FEWEST_PAIRS]
    if not pairs:
        return f"fewer than {2 * _FEWEST_PAIRS} frames of any plane"
    statistics = [_statistics(first, second) for first, second in pairs]
    levels, variances, weights = _transfer_curve(statistics)
    if len(levels) < 3:
        return "all pixels have the same light"
    gain, gain_error, offset = _fit_line(levels, variances, weights)
    if not gain > 0 or gain_error > _LARGEST_ERROR * gain:
        return "the light differs too little over the pixels"
    fraction = _noisy_fraction(statistics, gain, offset, min(len(first) for first, _ in pairs))
    pixels = sum(plane.light_YX.size for plane in statistics)
    looks_like: Literal["sCMOS", "CCD or EMCCD"] | None = None
    if fraction is not None:
        is_scmos = fraction >= _NOISY_SHARE and fraction * pixels >= _FEWEST_NOISY
        looks_like = "sCMOS" if is_scmos else "CCD or EMCCD"
    return CameraGuess(gain, gain_error, offset, fraction, looks_like)


@dataclass(frozen=True)
class _Plane:
    """Statistics of one plane over time, without the outermost pixels."""

    light_YX: Floats
    """Smoothed mean over time."""
    variance_YX: Floats
    """Variance of one frame over time."""
    levels_nYX: npt.NDArray[np.float32]
    """Mean of the two frames of each pair, averaged over the pixels that contribute to ``noise_nYX``."""
    noise_nYX: npt.NDArray[np.float32]
    """High-pass filtered difference of the two frames of each pair."""


def _statistics(first: Frames, second: Frames) -> _Plane:
    first, second = first.astype(np.float32), second.astype(np.float32)
    differences, means = second - first, (first + second) / 2
    return _Plane(
        light_YX=uniform_filter(means.mean(axis=0, dtype=np.float64), _SMOOTH_PX)[1:-1, 1:-1],
        variance_YX=np.var(differences, axis=0, dtype=np.float64)[1:-1, 1:-1] / 2,
        levels_nYX=_filtered(means, _ROUGH**2),
        noise_nYX=_filtered(differences, _ROUGH),
    )


def _filtered(frames_nYX: npt.NDArray[Any], kernel_YX: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convolve frames with a kernel, and remove the border, where the kernel is incomplete."""
    return np.stack([convolve(frame, kernel_YX)[1:-1, 1:-1] for frame in frames_nYX])


def _transfer_curve(planes: list[_Plane]) -> tuple[Floats, Floats, Floats]:
    """Return mean, variance and number of differences for groups of pixels with similar light."""
    edges = np.quantile(
        np.concatenate([plane.light_YX.ravel() for plane in planes]), np.linspace(0, 1, _NUM_LEVELS + 1)
    )
    levels, variances, weights = [], [], []
    for low, high in pairwise(np.unique(edges)):
        inside = [(plane.light_YX >= low) & (plane.light_YX <= high) for plane in planes]
        noise = np.concatenate([p.noise_nYX[:, i].ravel() for p, i in zip(planes, inside, strict=True)])
        level = np.concatenate([p.levels_nYX[:, i].ravel() for p, i in zip(planes, inside, strict=True)])
        sigma = _truncated_sigma(noise)
        kept = np.abs(noise) <= _TRUNCATED_AT * sigma
        if kept.sum() < 100:
            continue
        levels.append(level[kept].mean(dtype=np.float64))
        variances.append(sigma**2 / 2)
        weights.append(len(noise))
    return np.array(levels), np.array(variances), np.array(weights, dtype=np.float64)


def _truncated_sigma(values: npt.NDArray[Any]) -> float:
    """Return the standard deviation of normally distributed values, robust to outliers from noisy pixels."""
    sigma = float(np.percentile(np.abs(values), 68.27)) + 0.5
    for _ in range(20):
        inside = values[np.abs(values) <= _TRUNCATED_AT * sigma]
        new = float(np.sqrt(np.mean(inside.astype(np.float64) ** 2) / _TRUNCATED_VARIANCE)) if len(inside) else 0.0
        if abs(new - sigma) <= 1e-4 * sigma or new == 0:
            break
        sigma = new
    return sigma


def _fit_line(levels: Floats, variances: Floats, weights: Floats) -> tuple[float, float, float]:
    """Fit a line; return its slope, the standard error of the slope, and the zero crossing.

    Groups whose differences are affected by molecules lie above the line; the fit is repeated without them.
    """
    kept = np.ones(len(levels), dtype=bool)
    for _ in range(5):
        x, y, w = levels[kept], variances[kept], weights[kept] / np.maximum(variances[kept], 1e-6) ** 2
        centre, middle = np.average(x, weights=w), np.average(y, weights=w)
        spread = np.sum(w * (x - centre) ** 2)
        slope = np.sum(w * (x - centre) * y) / spread
        squares = w * (y - middle - slope * (x - centre)) ** 2
        error = np.sqrt(np.sum(squares) / max(len(x) - 2, 1) / spread)
        inside = np.abs(variances - middle - slope * (levels - centre)) <= 3 * np.sqrt(np.sum(squares) / np.sum(w))
        if inside.sum() < 3 or (inside == kept).all():
            break
        kept = inside
    return float(slope), float(error), float(centre - middle / slope)


def _noisy_fraction(planes: list[_Plane], gain: float, offset: float, num_pairs: int) -> float | None:
    """Return the fraction of pixels that are noisier than expected from the line and than their neighbours.

    Comparing with the neighbours excludes molecules, whose light also makes neighbouring pixels noisy.
    """
    if num_pairs < _PAIRS_FOR_PIXELS:
        return None
    noisy = total = 0
    for plane in planes:
        variance = plane.variance_YX
        padded = np.pad(variance, 1, mode="reflect")
        neighbours = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
        expected = np.maximum(gain * (plane.light_YX - offset), np.median(neighbours, axis=0))
        noisy += int((variance > _NOISY * np.maximum(expected, 1e-6)).sum())
        total += variance.size
    return noisy / total
