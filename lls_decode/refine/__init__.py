"""Fits and bounds of single emitters, and PSFs from beads."""

from lls_decode.refine.bounds import Bounds, emitter_bounds
from lls_decode.refine.calibration import BeadFit, Calibration, calibrate
from lls_decode.refine.crlb import Spots, crlb, with_bounds
from lls_decode.refine.mle import SpotFits, fit_spots
from lls_decode.refine.report import write_report

__all__ = [
    "BeadFit",
    "Bounds",
    "Calibration",
    "SpotFits",
    "Spots",
    "calibrate",
    "crlb",
    "emitter_bounds",
    "fit_spots",
    "with_bounds",
    "write_report",
]
