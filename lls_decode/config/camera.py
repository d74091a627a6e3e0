"""Cameras: how photons become counts. A value that varies over the chip is the path of a ``.npy`` map."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config

PixelValue = float | str
"""One number for all pixels, or the path of a ``.npy`` file with one number a pixel, shape (Y, X)."""


class EmccdCamera(Config):
    """Electron-multiplying camera: Poisson, then Gamma amplification, then Gaussian read noise."""

    kind: Literal["emccd"] = "emccd"
    baseline_adu: float = Field(ge=0)
    """Counts at no light."""
    e_per_adu: float = Field(gt=0)
    """Electrons (after amplification) per count."""
    em_gain: float = Field(gt=1)
    read_sigma_e: float = Field(ge=0)
    """Read noise after amplification, electrons r.m.s."""
    spurious_e: float = Field(default=0.0, ge=0)
    """Spurious charge before amplification, electrons per pixel."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)


class ScmosCamera(Config):
    """sCMOS (or CCD) camera: Poisson, then a gain, then Gaussian read noise; each may differ from pixel to pixel."""

    kind: Literal["scmos"] = "scmos"
    offset_adu: PixelValue
    """Counts at no light."""
    gain_adu_per_e: PixelValue
    """Counts per photo-electron."""
    variance_adu2: PixelValue
    """Variance of the read noise, counts squared."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)

    def resolve(self, folder: Path) -> "ScmosCamera":
        """Make relative map paths relative to ``folder`` (where the configuration lies)."""
        maps = ("offset_adu", "gain_adu_per_e", "variance_adu2")
        values = {name: getattr(self, name) for name in maps}
        return self.replace(**{k: str((folder / v).resolve()) for k, v in values.items() if isinstance(v, str)})


Camera = Annotated[EmccdCamera | ScmosCamera, Field(discriminator="kind")]


class ScmosChip(Config):
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.hot_variance_adu2
        if not 0 < low <= high:
            raise ValueError(f"hot_variance_adu2 runs from {low:g} to {high:g}; give the lower limit first, above 0")
        return self

    def nominal(self) -> ScmosCamera:
        """The camera of a pixel like most."""
        return ScmosCamera(
            offset_adu=self.offset_adu,
            gain_adu_per_e=self.gain_adu_per_e,
            variance_adu2=self.variance_adu2,
            quantum_efficiency=self.quantum_efficiency,
        )
