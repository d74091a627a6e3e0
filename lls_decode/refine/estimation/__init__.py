"""Statistics of a movie (photons, background, on-time, density) from fits of its isolated emitters."""

from lls_decode.refine.estimation.estimation import Estimate, estimate
from lls_decode.refine.estimation.report import write_estimate

__all__ = ["Estimate", "estimate", "write_estimate"]
