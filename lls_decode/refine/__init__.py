"""Fits and bounds of single emitters, PSFs from beads, and the statistics of a movie."""

from lls_decode.refine.bounds import Bounds, emitter_bounds, with_bounds
from lls_decode.refine.calibration import BeadFit, Calibration, calibrate
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.refine.estimation import Estimate, estimate
from lls_decode.refine.estimation_report import write_estimate
from lls_decode.refine.mle import SpotFits, fit_spots
from lls_decode.refine.report import write_report

__all__ = [
    "BeadFit",
    "Bounds",
    "Calibration",
    "Estimate",
    "SpotFits",
    "Spots",
    "calibrate",
    "crlb",
    "emitter_bounds",
    "estimate",
    "fit_spots",
    "with_bounds",
    "write_estimate",
    "write_report",
]
