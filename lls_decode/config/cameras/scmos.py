"""sCMOS cameras, whose pixels may differ, and chip statistics from which random maps are drawn for training."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from lls_decode.config.cameras.camera import (
    Array,
    BaseCamera,
    Conversion,
    Draw,
    PixelValue,
    ShotNoise,
    TrainableCamera,
    Values,
)
from lls_decode.config.cameras.maps import ABOVE_0, ANY_NUMBER, NOT_BELOW_0, Rule
from lls_decode.errors import ConfigError
from lls_decode.robust import robust_sd

_LEAST_GAIN = 0.2
"""Smallest gain that is drawn, in units of the mean gain."""
_HOT_SPREADS = 4.0
"""Threshold for hot pixels: log read variance this many robust standard deviations above the median, and read
variance at least twice the median."""

Map = npt.NDArray[np.float64]


class ScmosCamera(BaseCamera):
    """sCMOS (or CCD) camera: Poisson noise, then a gain, then Gaussian read noise; pixels may differ.

    counts = gain * (Poisson(photons * QE) + Normal(0, variance / gain^2)) + offset, rounded, not negative.
    """

    kind: Literal["scmos"] = "scmos"
    offset_adu: PixelValue
    """Counts without light; a number or the path of a map."""
    gain_adu_per_e: PixelValue
    """Counts per photo-electron; a number or the path of a map."""
    variance_adu2: PixelValue
    """Variance of the read noise, counts squared; a number or the path of a map."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)
    """Photo-electrons per photon; with the default of 1, photons mean detected photons."""

    MAPS: ClassVar[Mapping[str, Rule]] = {
        "offset_adu": ANY_NUMBER,
        "gain_adu_per_e": ABOVE_0,
        "variance_adu2": NOT_BELOW_0,
    }
    DARK_LEVEL: ClassVar[str] = "offset_adu"
    NOISE_MAP: ClassVar[str | None] = "variance_adu2"

    def to_photons(self, adu: Array, values: Values) -> Array:
        """Convert floating-point counts (..., Y, X) to photons."""
        return (adu - values["offset_adu"]) / (values["gain_adu_per_e"] * self.quantum_efficiency)

    def to_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw integer counts for expected photons (..., Y, X), which must not be negative."""
        light = self.added_adu(photons, values, draw)
        noise = draw.normal(light.shape) * values["variance_adu2"] ** 0.5
        return (light + noise + values["offset_adu"]).round().clip(min=0)

    def added_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw the counts, without rounding, that additional expected photons add to recorded counts.

        Sums of independent Poisson numbers are Poisson numbers. Therefore the sum of recorded and added counts is
        distributed as if the light had been recorded. Offset and read noise are already in the recorded counts and are
        not added.
        """
        return draw.poisson(photons * self.quantum_efficiency) * values["gain_adu_per_e"]

    def shot_noise(self, values: Values) -> ShotNoise:
        """Return the statistics of the fluctuation of the counts."""
        return ShotNoise(
            quantum_efficiency=self.quantum_efficiency,
            excess=1.0,
            kurtosis=1.0,
            dark_e=0.0,
            read_variance_e2=values["variance_adu2"] / values["gain_adu_per_e"] ** 2,
        )

    def read_noise(self, values: Values) -> Array:
        """Return the read noise of each pixel, photons r.m.s."""
        return values["variance_adu2"] ** 0.5 / (values["gain_adu_per_e"] * self.quantum_efficiency)

    def conversion(self) -> Conversion:
        """Return the camera parameters that files of other programs hold."""
        offset, gain = (
            math.nan if isinstance(value, str) else value for value in (self.offset_adu, self.gain_adu_per_e)
        )
        return Conversion(1 / gain, offset, 1.0)

    def for_training(self, size: tuple[int, int] | None = None) -> TrainableCamera:
        """Return the chip's statistics if the camera has maps, so that the model works on every region of the chip."""
        if not self.map_paths():
            return self
        return chip_statistics(**self.read_values(size), quantum_efficiency=self.quantum_efficiency)


class ScmosChip(TrainableCamera):
    """Statistics of an sCMOS chip, from which per-pixel maps are drawn for training on any chip of its kind."""

    kind: Literal["scmos-chip"] = "scmos-chip"
    offset_adu: float = Field(ge=0)
    """Median counts without light."""
    offset_sd_adu: float = Field(ge=0)
    """Standard deviation of the offset between pixels, counts."""
    gain_adu_per_e: float = Field(gt=0)
    """Median gain, counts per photo-electron."""
    gain_sd_adu_per_e: float = Field(ge=0)
    """Standard deviation of the gain between pixels, counts per photo-electron."""
    variance_adu2: float = Field(gt=0)
    """Median variance of the read noise, counts squared."""
    variance_spread: float = Field(ge=0)
    """Standard deviation of the logarithm of the variance, which is log-normal over pixels."""
    hot_fraction: float = Field(ge=0, lt=1)
    """Fraction of hot pixels."""
    hot_variance_adu2: tuple[float, float] = (100.0, 2000.0)
    """Range of the log-uniform variance of hot pixels, counts squared."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)
    """Photo-electrons per photon; with the default of 1, photons mean detected photons."""

    NOISE_MAP: ClassVar[str | None] = "variance_adu2"

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.hot_variance_adu2
        if not 0 < low <= high:
            raise ValueError(f"hot_variance_adu2 runs from {low:g} to {high:g}; give the lower limit first, above 0")
        return self

    def nominal(self) -> ScmosCamera:
        """Return the camera of a typical pixel."""
        return ScmosCamera(
            offset_adu=self.offset_adu,
            gain_adu_per_e=self.gain_adu_per_e,
            variance_adu2=self.variance_adu2,
            quantum_efficiency=self.quantum_efficiency,
        )

    def draw_values(self, size: Sequence[int], draw: Draw) -> Values:
        """Draw random camera maps of shape ``size``."""
        hot = draw.log_uniform(*self.hot_variance_adu2, size)
        quiet = self.variance_adu2 * draw.log_normal(self.variance_spread, size)
        offset = self.offset_adu + self.offset_sd_adu * draw.normal(size)
        gain = self.gain_adu_per_e + self.gain_sd_adu_per_e * draw.normal(size)
        is_hot = draw.uniform(size) < self.hot_fraction
        return {
            "offset_adu": offset.clip(min=0),
            "gain_adu_per_e": gain.clip(min=_LEAST_GAIN * self.gain_adu_per_e),
            "variance_adu2": is_hot * hot + ~is_hot * quiet,
        }


def chip_statistics(
    offset_adu: Map, gain_adu_per_e: Map, variance_adu2: Map, *, quantum_efficiency: float
) -> ScmosChip:
    """Return robust statistics of camera maps (or single numbers), which a few broken pixels do not change.

    The statistics are medians, and spreads from the median absolute deviation. A value that is equal in all pixels is
    returned exactly.

    Raises
    ------
    ConfigError
        No pixel has a read variance.
    """
    usable = variance_adu2[np.isfinite(variance_adu2) & (variance_adu2 > 0)]
    if not usable.size:
        raise ConfigError("The camera's variance_adu2 is 0 in all pixels; give the variance of its read noise.")
    log_variance = np.log(usable)
    spread = float(robust_sd(log_variance))
    hot = usable[log_variance > np.median(log_variance) + max(_HOT_SPREADS * spread, np.log(2))]
    log_hot = np.log(hot) if len(hot) else log_variance  # without hot pixels the range is unused
    half_width = np.sqrt(3) * log_hot.std()  # half-width of a uniform distribution with this standard deviation
    return ScmosChip(
        offset_adu=max(
            float(np.median(offset_adu)), 0.0
        ),  # negative medians occur if the offset has already been subtracted
        offset_sd_adu=float(robust_sd(offset_adu)),
        gain_adu_per_e=float(np.median(gain_adu_per_e)),
        gain_sd_adu_per_e=float(robust_sd(gain_adu_per_e)),
        variance_adu2=float(np.median(usable)),
        variance_spread=spread,
        hot_fraction=len(hot) / usable.size,
        hot_variance_adu2=(float(np.exp(log_hot.mean() - half_width)), float(np.exp(log_hot.mean() + half_width))),
        quantum_efficiency=quantum_efficiency,
    )
