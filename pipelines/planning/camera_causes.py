"""Measure how frames look through the configured camera, and find out why it does not fit them. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve, minimum_filter

from lls_decode.config import Camera, Values
from lls_decode.robust import robust_sd

_ROUGH = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float64) / 6
"""High-pass filter with sum of squares 1, which passes pixel noise but hardly any light that a lens has focused."""
_ROUNDING = 1 / 12
"""Variance of rounding, counts squared."""
_HALF_RANGE = 32768
_SMOOTHER = 10.0
"""Smallest factor by which swapping bytes reduces the fine detail of frames that were written in wrong byte order."""
_FRACTIONS = 0.01
"""Fraction of pixels with non-integer values above which the values are not camera counts."""
_NOISY = 2.0
"""Ratio of measured to expected noise variance above which the gain is probably wrong."""
_AS_PHOTONS = (
    "set a camera that leaves the values unchanged (camera: {kind: scmos, offset_adu: 0, gain_adu_per_e: 1, "
    "variance_adu2: 0})"
)

Frames = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Background and noise of frames, measured with a given camera. Shot units are those of `config.ShotNoise`."""

    median_adu: float
    bg: float
    """Background, photons per pixel: the median, because most pixels contain background only."""
    photons_per_unit: float
    """Photons per shot unit."""
    noise_variance: float
    """Variance of the noise from pixel to pixel, shot units squared."""
    dark_variance: float
    """Variance that a pixel of this camera has without light, shot units squared."""
    dark_sd: float
    """Standard deviation of a pixel with one shot unit of light, photons. No background can be further below zero."""
    is_wrapped: bool
    """Whether some counts are in the lower half of the negative range although most counts are positive."""

    @property
    def bg_units(self) -> float:
        """Background in shot units."""
        return self.bg / self.photons_per_unit

    @property
    def expected_variance(self) -> float:
        """Noise variance that this camera would have at this background, shot units squared."""
        return max(self.bg_units, 0.0) + self.dark_variance

    @property
    def bg_of_noise(self) -> float:
        """Background that would explain the measured noise, photons."""
        return max(self.noise_variance - self.dark_variance, 0.0) * self.photons_per_unit

    @classmethod
    def of(cls, adu_TYX: Frames, camera: Camera, values: Values) -> "Evidence":
        """Measure frames. If the camera has an offset, pixels of exactly 0 count as not recorded and are ignored."""
        noise, dark = camera.shot_noise(values), camera.dark_level(values)
        photons = camera.to_photons(adu_TYX.astype(np.float64), values)
        recorded = adu_TYX != 0 if dark.adu > 0 and adu_TYX.any() else np.ones(adu_TYX.shape, dtype=bool)
        median_adu, dark_variance = (
            float(np.median(adu_TYX[recorded])),
            float(np.median(noise.read_variance)) + noise.dark,
        )
        return cls(
            median_adu=median_adu,
            bg=float(np.median(photons[recorded])),
            photons_per_unit=noise.photons_per_unit,
            noise_variance=_noise_variance(adu_TYX, recorded, camera, values) / noise.photons_per_unit**2,
            dark_variance=dark_variance,
            dark_sd=float(np.sqrt(dark_variance + 1)) * noise.photons_per_unit,
            is_wrapped=_is_wrapped(adu_TYX, median_adu),
        )


def _noise_variance(adu_TYX: Frames, recorded_TYX: npt.NDArray[np.bool_], camera: Camera, values: Values) -> float:
    """Return the photon variance from pixel to pixel, robust against emitters and without the variance of rounding."""
    is_whole = adu_TYX.dtype.kind in "iu"
    adu = adu_TYX.astype(np.float64)
    if is_whole:  # with few different counts, the median absolute deviation may be zero
        adu += np.random.default_rng(0).uniform(-0.5, 0.5, adu.shape)
    variance = _fine_sd(camera.to_photons(adu, values), recorded_TYX) ** 2
    return max(variance - 2 * _ROUNDING * photons_per_count(camera, values) ** 2 * is_whole, 0.0)


def photons_per_count(camera: Camera, values: Values) -> float:
    """Return the photons per count: the median over the pixels."""
    one, none = (camera.to_photons(np.asarray(float(count)), values) for count in (1, 0))
    return float(np.median(one - none))


def likely_cause(
    adu_TYX: Frames, evidence: Evidence, camera: Camera, values: Values, is_near: Callable[[float], bool]
) -> str:
    """Return why frames do not fit a camera, and what to do, as a clause without a full stop.

    ``is_near`` says whether a background is within the range that the model was trained for.
    """
    kind, median = adu_TYX.dtype.kind, evidence.median_adu
    if kind == "f" and np.mean(adu_TYX != np.round(adu_TYX)) > _FRACTIONS:
        return (
            "the values are not integers, so they are photons or otherwise processed, not counts: localize the counts "
            f"of the camera, or {_AS_PHOTONS}"
        )
    if _is_swapped(adu_TYX):
        return (
            "neighbouring pixels become similar when the bytes of each number are swapped, so they were written in the "
            "wrong byte order: convert the movie again with the other byte order"
        )
    if median < 0 or evidence.is_wrapped:
        return (
            f"cameras give no negative counts, so the counts were exported as signed numbers ({adu_TYX.dtype}), with "
            f"{_HALF_RANGE} subtracted or counts above {_HALF_RANGE - 1} wrapped around, or a background was "
            "subtracted: export them as unsigned numbers (uint16), without processing"
        )
    if median >= _HALF_RANGE and is_near(evidence.bg - _HALF_RANGE * photons_per_count(camera, values)):
        return (
            f"{_HALF_RANGE} was added to the counts, as some programs do for signed numbers: subtract {_HALF_RANGE}, "
            f"or raise camera.{camera.DARK_LEVEL} by it"
        )
    if _are_photons(adu_TYX, is_near):
        return (
            "median and noise of the unconverted values are those of photons, so they were converted already: localize "
            f"the counts of the camera, or {_AS_PHOTONS}"
        )
    return _offset_or_gain(evidence, camera, values)


def _offset_or_gain(evidence: Evidence, camera: Camera, values: Values) -> str:
    dark, expected = camera.dark_level(values), evidence.expected_variance
    is_noisy = evidence.bg > 0 and evidence.noise_variance > _NOISY * expected
    is_quiet = evidence.noise_variance < expected / _NOISY
    if evidence.bg > 0 and not is_noisy and not is_quiet:
        return "the noise fits this amount of light: train a model for this background (lls-decode estimate)"
    if is_noisy:
        times = evidence.noise_variance / expected
        return f"the noise is {times:.2g} times that of this amount of light: the camera's gain is too low, correct it"
    offset = dark.adu + (evidence.bg - evidence.bg_of_noise) / photons_per_count(camera, values)
    word = "high" if evidence.bg < 0 else "low"
    return (
        f"camera.{dark.name} is too {word}, the noise of the frames fits {dark.name} {offset:.0f}: set the value of "
        "the camera that recorded the data (median of dark frames)"
    )


def _fine_sd(frames_TYX: Floats, recorded_TYX: npt.NDArray[np.bool_] | None = None) -> float:
    """Return the robust standard deviation of the finest detail, over pixels whose neighbours were also recorded."""
    fine = np.stack([convolve(frame, _ROUGH) for frame in frames_TYX])
    inside = np.zeros(fine.shape, dtype=bool)
    inside[:, 1:-1, 1:-1] = True
    if recorded_TYX is not None:
        inside &= minimum_filter(recorded_TYX, (1, 3, 3))
    return float(robust_sd(fine[inside])) if inside.any() else 0.0


def _is_swapped(adu_TYX: Frames) -> bool:
    if adu_TYX.dtype.kind not in "iu" or adu_TYX.dtype.itemsize < 2:
        return False
    as_stored, swapped = (_fine_sd(frames.astype(np.float64)) for frames in (adu_TYX, adu_TYX.byteswap()))
    return swapped * _SMOOTHER < as_stored


def _is_wrapped(adu_TYX: Frames, median_adu: float) -> bool:
    if adu_TYX.dtype.kind != "i" or median_adu < 0:
        return False
    return bool((adu_TYX < np.iinfo(adu_TYX.dtype).min // 2).any())


def _are_photons(adu_TYX: Frames, is_near: Callable[[float], bool]) -> bool:
    """Whether unconverted values have a median in the range of the model, and the noise of photons."""
    median = float(np.median(adu_TYX))
    variance = _fine_sd(adu_TYX.astype(np.float64)) ** 2
    return (
        median > 0 and is_near(median) and 1 / _NOISY < variance / median < 2 * _NOISY
    )  # an EM gain doubles the variance
