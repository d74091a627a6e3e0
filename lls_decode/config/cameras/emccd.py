"""Electron-multiplying cameras."""

from typing import ClassVar, Literal

from pydantic import Field

from lls_decode.config.cameras.camera import Array, BaseCamera, Conversion, Draw, ShotNoise, Values


class EmccdCamera(BaseCamera):
    """Electron-multiplying camera: Poisson, then Gamma amplification, then Gaussian read noise.

    counts = floor((Gamma(Poisson(photons * QE + spurious), gain) + Normal(read)) / e_per_adu) + baseline, not negative.
    """

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

    DARK_LEVEL: ClassVar[str] = "baseline_adu"

    def to_photons(self, adu: Array, values: Values) -> Array:
        """Convert floating-point counts (..., Y, X) to photons."""
        del values
        electrons = (adu - self.baseline_adu) * (self.e_per_adu / self.em_gain)
        return (electrons - self.spurious_e) / self.quantum_efficiency

    def to_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw whole counts for expected photons (..., Y, X), which are not negative."""
        del values
        amplified = draw.gamma(draw.poisson(photons * self.quantum_efficiency + self.spurious_e)) * self.em_gain
        amplified = amplified + draw.normal(amplified.shape) * self.read_sigma_e
        return (amplified / self.e_per_adu // 1 + self.baseline_adu).clip(min=0)

    def added_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw the counts, not rounded, that additional expected photons add to recorded counts.

        Poisson numbers add up to Poisson ones, and Gamma ones of one scale to Gamma ones: recorded counts plus these
        are distributed as if the light had been there. Baseline, spurious charge and read noise are in the recorded
        counts, and do not come in again.
        """
        del values
        return draw.gamma(draw.poisson(photons * self.quantum_efficiency)) * self.em_gain / self.e_per_adu

    def shot_noise(self, values: Values) -> ShotNoise:
        """Return how the counts fluctuate: amplification doubles the variance of the electrons."""
        del values
        return ShotNoise(
            quantum_efficiency=self.quantum_efficiency,
            excess=2.0,
            kurtosis=3.0,
            dark_e=self.spurious_e,
            read_variance_e2=(self.read_sigma_e / self.em_gain) ** 2,
        )

    def conversion(self) -> Conversion:
        """Return the numbers that other programs know of a camera."""
        return Conversion(self.e_per_adu, self.baseline_adu, self.em_gain)
