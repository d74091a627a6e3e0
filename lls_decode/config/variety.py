"""Variation of training frames beyond the configured values, so that a model also works on unexpected data."""

import math
from typing import Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config


class Variety(Config):
    """Variation of density, arrangement, brightness, background and PSF beyond the configured values.

    A training configuration describes the expected data. Real data differ: a field is sparse at its rim, molecules
    lie along filaments, one molecule in a hundred is three times as bright, the background doubles under a nucleus, the
    focus drifts. Training frames are drawn from ranges that include such cases, so that the model has seen them.
    """

    sparse_share: float = Field(default=0.3, ge=0, le=1)
    """Fraction of sequences whose density is log-uniform, from ``sparsest`` to the highest configured density. The
    other sequences have the configured densities."""
    sparsest: float = Field(default=0.02, gt=0, lt=1)
    """Lowest density of the sparse sequences, as a fraction of the highest configured density."""
    structured_share: float = Field(default=0.3, ge=0, le=1)
    """Fraction of sequences whose molecules lie along filaments, at the same mean density. Close pairs are then more
    frequent than among molecules at random places. The other sequences have molecules at random places."""
    filaments_um_per_um2: tuple[float, float] = (0.5, 3.0)
    """Range of the length of filaments per area in the structured sequences, um per um2; log-uniform. The
    shorter the filaments, the closer the molecules."""
    any_light_share: float = Field(default=0.3, ge=0, le=1)
    """Fraction of molecules whose brightness is log-uniform, from ``photons_min`` to ``brightest``. The other molecules
    have the configured brightness."""
    brightest: float = Field(default=2.0, ge=1)
    """Largest brightness, in units of ``photons_mean`` plus two ``photons_sd``."""
    background: float = Field(default=1.5, ge=1)
    """Factor by which the configured range of the background level is extended, upwards and downwards. The level is
    log-uniform over the extended range."""
    psf_width_sd: float = Field(default=0.02, ge=0, le=0.2)
    """Relative standard deviation of the PSF width between sequences."""
    psf_focus_sd_nm: float = Field(default=5.0, ge=0)
    """Standard deviation of the focus between sequences, nm. A PSF with two foci has each of them drawn
    independently."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.filaments_um_per_um2
        if not 0 < low <= high:
            raise ValueError(
                f"filaments_um_per_um2 is {low:g} to {high:g}; give two positive numbers, the smaller one first"
            )
        return self

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
        """Return the lowest and the highest brightness of molecules with log-uniform brightness, photons per frame."""
        highest = self.brightest * (mean + 2 * sd)
        return min(max(least, _LEAST_OF_HIGHEST * highest), highest), highest

    def backgrounds(self, low: float, high: float) -> tuple[float, float]:
        """Return the extended range of the background level, photons per pixel."""
        highest = self.background * high
        return max(low / self.background, _LEAST_OF_HIGHEST * highest), highest


_LEAST_OF_HIGHEST = 0.01
"""Smallest ratio of the lower to the upper limit of a log-uniform range, whose lower limit cannot be 0."""
