"""Estimation of a movie's statistics (photons, background, on-time, density) from fits of isolated emitters."""

from lls_decode.refine.estimation.estimation import Estimate, estimate
from lls_decode.refine.estimation.report import write_estimate

__all__ = ["Estimate", "estimate", "write_estimate"]
