"""Fits of single emitters and their Cramer-Rao bounds, the basis of PSF calibration and of movie statistics."""

from lls_decode.refine.bounds import Bounds, emitter_bounds, with_bounds
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.refine.mle import SpotFits, fit_spots

__all__ = [
    "Bounds",
    "SpotFits",
    "Spots",
    "crlb",
    "emitter_bounds",
    "fit_spots",
    "with_bounds",
]
