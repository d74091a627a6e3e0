"""Electron-multiplying cameras."""

from typing import ClassVar, Literal

from pydantic import Field

from lls_decode.config.cameras.camera import Array, BaseCamera, Conversion, Draw, ShotNoise, Values


class EmccdCamera(BaseCamera):
    """EMCCD camera: Poisson noise, then Gamma-distributed amplification, then Gaussian read noise.

    counts = floor((Gamma(Poisson(photons * QE + spurious), gain) + Normal(read)) / e_per_adu) + baseline, not negative.
    """

    kind: Literal["emccd"] = "emccd"
    baseline_adu: float = Field(ge=0)
    """Counts without light."""
    e_per_adu: float = Field(gt=0)
    """Electrons (after amplification) per count."""
    em_gain: float = Field(gt=1)
    """Electron-multiplying gain: mean electrons after amplification per photo-electron."""
    read_sigma_e: float = Field(ge=0)
    """Read noise after amplification, electrons r.m.s."""
    spurious_e: float = Field(default=0.0, ge=0)
    """Spurious charge before amplification, electrons per pixel and frame; default: none."""
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)
    """Photo-electrons per photon; with the default of 1, photons mean detected photons."""

    DARK_LEVEL: ClassVar[str] = "baseline_adu"

    def to_photons(self, adu: Array, values: Values) -> Array:
        """Convert floating-point counts (..., Y, X) to photons."""
        del values
        electrons = (adu - self.baseline_adu) * (self.e_per_adu / self.em_gain)
        return (electrons - self.spurious_e) / self.quantum_efficiency

    def to_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw integer counts for expected photons (..., Y, X), which must not be negative."""
        del values
        amplified = draw.gamma(draw.poisson(photons * self.quantum_efficiency + self.spurious_e)) * self.em_gain
        amplified = amplified + draw.normal(amplified.shape) * self.read_sigma_e
        return (amplified / self.e_per_adu // 1 + self.baseline_adu).clip(min=0)

    def added_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw the counts, without rounding, that additional expected photons add to recorded counts.

        Sums of Poisson numbers are Poisson numbers, and sums of Gamma numbers with the same scale are Gamma numbers.
        Therefore the sum of recorded and added counts is distributed as if the light had been recorded. Baseline,
        spurious charge and read noise are already in the recorded counts and are not added.
        """
        del values
        return draw.gamma(draw.poisson(photons * self.quantum_efficiency)) * self.em_gain / self.e_per_adu

    def shot_noise(self, values: Values) -> ShotNoise:
        """Return the statistics of the counts: amplification doubles the variance of the electrons."""
        del values
        return ShotNoise(
            quantum_efficiency=self.quantum_efficiency,
            excess=2.0,
            kurtosis=3.0,
            dark_e=self.spurious_e,
            read_variance_e2=(self.read_sigma_e / self.em_gain) ** 2,
        )

    def conversion(self) -> Conversion:
        """Return the camera parameters that files of other programs hold."""
        return Conversion(self.e_per_adu, self.baseline_adu, self.em_gain)
