"""What frames tell about the camera that recorded them, and why the configured one does not fit. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve, minimum_filter

from lls_decode.config import Camera, Values
from lls_decode.robust import robust_sd

_ROUGH = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float64) / 6
"""Passes what changes from pixel to pixel, sum of squares 1: noise, and hardly any light that a lens has focused."""
_ROUNDING = 1 / 12
"""Variance of rounding, counts squared."""
_HALF_RANGE = 32768
_SMOOTHER = 10.0
"""Swapping bytes makes neighbouring pixels this many times more alike, at least, when the bytes were swapped before."""
_FRACTIONS = 0.01
"""Share of the pixels with fractions from which values are no counts."""
_NOISY = 2.0
"""Noise variance in units of the expected one from which the gain is doubted."""
_AS_PHOTONS = (
    "give a camera that leaves the values as they are (camera: {kind: scmos, offset_adu: 0, gain_adu_per_e: 1, "
    "variance_adu2: 0})"
)

Frames = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What the background of frames looks like through a camera. Shot units as in `lls_decode.config.ShotNoise`."""

    median_adu: float
    bg: float
    """Median of the photons: most pixels hold background only."""
    photons_per_unit: float
    """Photons in a shot unit."""
    noise_variance: float
    """Variance of the noise from pixel to pixel, shot units squared."""
    dark_variance: float
    """The part of it that a pixel of this camera has without light."""
    dark_sd: float
    """Standard deviation of a pixel with one shot unit of light, photons: the background is not further below zero."""
    is_wrapped: bool
    """Whether some counts lie in the lower half of the negative numbers, while most are positive."""

    @property
    def bg_units(self) -> float:
        """The background in shot units."""
        return self.bg / self.photons_per_unit

    @property
    def expected_variance(self) -> float:
        """Variance of the noise of such a background, shot units squared."""
        return max(self.bg_units, 0.0) + self.dark_variance

    @property
    def bg_of_noise(self) -> float:
        """Background that has the noise of the frames, photons."""
        return max(self.noise_variance - self.dark_variance, 0.0) * self.photons_per_unit

    @classmethod
    def of(cls, adu_TYX: Frames, camera: Camera, values: Values) -> "Evidence":
        """Measure frames. Pixels of exactly 0 are not recorded ones, if the camera has counts at no light."""
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
    """Variance of the photons from pixel to pixel, robust against emitters, without that of rounding."""
    is_whole = adu_TYX.dtype.kind in "iu"
    adu = adu_TYX.astype(np.float64)
    if is_whole:  # few different counts have no median deviation
        adu += np.random.default_rng(0).uniform(-0.5, 0.5, adu.shape)
    variance = _fine_sd(camera.to_photons(adu, values), recorded_TYX) ** 2
    return max(variance - 2 * _ROUNDING * photons_per_count(camera, values) ** 2 * is_whole, 0.0)


def photons_per_count(camera: Camera, values: Values) -> float:
    """Photons that one more count stands for; the median over the pixels."""
    one, none = (camera.to_photons(np.asarray(float(count)), values) for count in (1, 0))
    return float(np.median(one - none))


def likely_cause(
    adu_TYX: Frames, evidence: Evidence, camera: Camera, values: Values, is_near: Callable[[float], bool]
) -> str:
    """Return why frames do not fit a camera, and what to do, in words without an end.

    ``is_near`` tells whether a background is one that the model was trained for.
    """
    kind, median = adu_TYX.dtype.kind, evidence.median_adu
    if kind == "f" and np.mean(adu_TYX != np.round(adu_TYX)) > _FRACTIONS:
        return (
            "the values have fractions, so that they are no counts but photons, or otherwise processed: localize the "
            f"counts of the camera, or {_AS_PHOTONS}"
        )
    if _is_swapped(adu_TYX):
        return (
            "neighbouring pixels become alike when the bytes of each number are swapped, so that they were written in "
            "the wrong byte order: convert the movie again with the other one"
        )
    if median < 0 or evidence.is_wrapped:
        return (
            f"no camera counts below zero, so that the counts were exported as signed numbers ({adu_TYX.dtype}), with "
            f"{_HALF_RANGE} subtracted or those above {_HALF_RANGE - 1} wrapped around, or a background was "
            "subtracted: export them as unsigned numbers (uint16), without processing"
        )
    if median >= _HALF_RANGE and is_near(evidence.bg - _HALF_RANGE * photons_per_count(camera, values)):
        return (
            f"{_HALF_RANGE} was added to the counts, as some programs export signed numbers: subtract it, or raise "
            f"camera.{camera.DARK_LEVEL} by it"
        )
    if _are_photons(adu_TYX, is_near):
        return (
            "median and noise of the values themselves are those of photons, so that they were converted before: "
            f"localize the counts of the camera, or {_AS_PHOTONS}"
        )
    return _offset_or_gain(evidence, camera, values)


def _offset_or_gain(evidence: Evidence, camera: Camera, values: Values) -> str:
    dark, expected = camera.dark_level(values), evidence.expected_variance
    is_noisy = evidence.bg > 0 and evidence.noise_variance > _NOISY * expected
    is_quiet = evidence.noise_variance < expected / _NOISY
    if evidence.bg > 0 and not is_noisy and not is_quiet:
        return "the noise is that of so much light: train a model for this background (lls-decode estimate)"
    if is_noisy:
        times = evidence.noise_variance / expected
        return f"the noise is {times:.2g} times that of so much light, so that the camera's gain is too low: correct it"
    offset = dark.adu + (evidence.bg - evidence.bg_of_noise) / photons_per_count(camera, values)
    word = "high" if evidence.bg < 0 else "low"
    return (
        f"camera.{dark.name} is too {word}, the noise of the frames fits {dark.name} {offset:.0f}: give the camera of "
        "the data (median of dark frames)"
    )


def _fine_sd(frames_TYX: Floats, recorded_TYX: npt.NDArray[np.bool_] | None = None) -> float:
    """Robust standard deviation of the finest detail, over the pixels whose neighbours are recorded, too."""
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
    """Whether values are in the range of the model, and as noisy as photons, without any camera."""
    median = float(np.median(adu_TYX))
    variance = _fine_sd(adu_TYX.astype(np.float64)) ** 2
    return (
        median > 0 and is_near(median) and 1 / _NOISY < variance / median < 2 * _NOISY
    )  # twice as noisy after amplification
