"""How far training frames go beyond the stated emitters, so that a model serves data that nobody expected."""

import math

from pydantic import Field

from lls_decode.config.base import Config


class Variety(Config):
    """Distributions of density, brightness, background and PSF around the stated values.

    A training configuration states what is expected. Users' data differ: a field is sparse at its rim, one molecule in
    a hundred is three times as bright, the background doubles under a nucleus, the focus drifts. Frames are drawn from
    ranges that include such cases, so that none of them is new to the model.
    """

    sparse_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the sequences with a log-uniform density, from sparse to the highest stated one. The other sequences
    have the stated densities."""
    sparsest: float = Field(default=0.02, gt=0, lt=1)
    """Lowest density of these sequences, as a share of the highest stated one."""
    any_light_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the molecules with a log-uniform brightness, from ``photons_min`` to ``brightest``. The other molecules
    have the stated brightness."""
    brightest: float = Field(default=2.0, ge=1)
    """Largest brightness, in units of the brightest expected: the stated mean and two standard deviations."""
    background: float = Field(default=1.5, ge=1)
    """Factor by which the stated range of the background level is extended, upwards and downwards. The level is
    log-uniform over the extended range."""
    psf_width_sd: float = Field(default=0.02, ge=0, le=0.2)
    """Relative standard deviation of the width of the PSF between sequences."""
    psf_focus_sd_nm: float = Field(default=5.0, ge=0)
    """Standard deviation of the focus between sequences, nm; along x and y independently where the PSF has two foci."""

    def densities(self, density_per_um2: float, density_spread: float) -> tuple[float, float]:
        """Return the lowest and the highest density of the sparse sequences, emitters per square micrometre."""
        highest = density_per_um2 * (1 + density_spread)
        return self.sparsest * highest, highest

    def mean_density(self, density_per_um2: float, density_spread: float) -> float:
        """Return the mean density over all sequences, emitters per square micrometre."""
        low, high = self.densities(density_per_um2, density_spread)
        sparse = (high - low) / math.log(high / low)
        return (1 - self.sparse_share) * density_per_um2 + self.sparse_share * sparse

    def photons(self, *, least: float, mean: float, sd: float) -> tuple[float, float]:
        """Return the least and the largest brightness of the log-uniform molecules, photons per frame."""
        highest = self.brightest * (mean + 2 * sd)
        return min(max(least, _LEAST_OF_HIGHEST * highest), highest), highest

    def backgrounds(self, low: float, high: float) -> tuple[float, float]:
        """Return the extended range of the background level, photons per pixel."""
        highest = self.background * high
        return max(low / self.background, _LEAST_OF_HIGHEST * highest), highest


_LEAST_OF_HIGHEST = 0.01
"""Log-uniform ranges begin at this share of their upper limit at the lowest: 0 has no logarithm."""
