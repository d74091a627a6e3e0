"""sCMOS cameras, whose pixels may all differ, and the statistics of a chip from which training draws chips."""

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
"""Least gain that is drawn, in units of the mean gain."""
_HOT_SPREADS = 4.0
"""A pixel is hot when its read variance is this many robust standard deviations (of the logarithm) above the median,
and twice it at least."""

Map = npt.NDArray[np.float64]


class ScmosCamera(BaseCamera):
    """sCMOS (or CCD) camera: Poisson, then a gain, then Gaussian read noise; each may differ from pixel to pixel.

    counts = gain * (Poisson(photons * QE) + Normal(0, variance / gain^2)) + offset, rounded, not negative.
    """

    kind: Literal["scmos"] = "scmos"
    offset_adu: PixelValue
    """Counts at no light."""
    gain_adu_per_e: PixelValue
    """Counts per photo-electron."""
    variance_adu2: PixelValue
    """Variance of the read noise, counts squared."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)

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
        """Draw whole counts for expected photons (..., Y, X), which are not negative."""
        light = self.added_adu(photons, values, draw)
        noise = draw.normal(light.shape) * values["variance_adu2"] ** 0.5
        return (light + noise + values["offset_adu"]).round().clip(min=0)

    def added_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw the counts, not rounded, that additional expected photons add to recorded counts.

        The sum of independent Poisson numbers is a Poisson number: recorded counts plus these are distributed as if
        the light had been there. Offset and read noise are in the recorded counts, and do not come in again.
        """
        return draw.poisson(photons * self.quantum_efficiency) * values["gain_adu_per_e"]

    def shot_noise(self, values: Values) -> ShotNoise:
        """Return how the counts fluctuate."""
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
        """Return the numbers that other programs know of a camera."""
        offset, gain = (
            math.nan if isinstance(value, str) else value for value in (self.offset_adu, self.gain_adu_per_e)
        )
        return Conversion(1 / gain, offset, 1.0)

    def for_training(self, size: tuple[int, int] | None = None) -> TrainableCamera:
        """Return the statistics of the chip where the camera has maps, so that the model serves every region of it."""
        if not self.map_paths():
            return self
        return chip_statistics(**self.read_values(size), quantum_efficiency=self.quantum_efficiency)


class ScmosChip(TrainableCamera):
    """Statistics of an sCMOS chip, from which per-pixel maps are drawn for training on any chip of its kind."""

    kind: Literal["scmos-chip"] = "scmos-chip"
    offset_adu: float = Field(ge=0)
    offset_sd_adu: float = Field(ge=0)
    gain_adu_per_e: float = Field(gt=0)
    gain_sd_adu_per_e: float = Field(ge=0)
    variance_adu2: float = Field(gt=0)
    """Median variance of the read noise."""
    variance_spread: float = Field(ge=0)
    """Standard deviation of the logarithm of the variance (log-normal)."""
    hot_fraction: float = Field(ge=0, lt=1)
    """Share of hot pixels."""
    hot_variance_adu2: tuple[float, float] = (100.0, 2000.0)
    """Variance of hot pixels, log-uniform in this range."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)

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
        """Draw the maps of chips, of shape ``size``."""
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

    Medians, and spreads by the median absolute deviation. A value that all pixels share stays exactly what it is.

    Raises
    ------
    ConfigError
        No pixel has a read variance.
    """
    usable = variance_adu2[np.isfinite(variance_adu2) & (variance_adu2 > 0)]
    if not usable.size:
        raise ConfigError("The camera's variance_adu2 is nowhere above 0; give the variance of its read noise.")
    log_variance = np.log(usable)
    spread = float(robust_sd(log_variance))
    hot = usable[log_variance > np.median(log_variance) + max(_HOT_SPREADS * spread, np.log(2))]
    log_hot = np.log(hot) if len(hot) else log_variance  # without hot pixels their range says nothing
    half_width = np.sqrt(3) * log_hot.std()  # of a uniform distribution with this standard deviation
    return ScmosChip(
        offset_adu=max(float(np.median(offset_adu)), 0.0),  # of maps of data whose offset was subtracted before
        offset_sd_adu=float(robust_sd(offset_adu)),
        gain_adu_per_e=float(np.median(gain_adu_per_e)),
        gain_sd_adu_per_e=float(robust_sd(gain_adu_per_e)),
        variance_adu2=float(np.median(usable)),
        variance_spread=spread,
        hot_fraction=len(hot) / usable.size,
        hot_variance_adu2=(float(np.exp(log_hot.mean() - half_width)), float(np.exp(log_hot.mean() + half_width))),
        quantum_efficiency=quantum_efficiency,
    )
