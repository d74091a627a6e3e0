"""Fourier ring and shell correlation of a table with itself, and the interval of the resulting resolution."""

from lls_decode.evaluate.frc.correlation import MAX_PIXELS, fourier_correlation
from lls_decode.evaluate.frc.curve import FourierCorrelation
from lls_decode.evaluate.frc.rings import FIRST_RING, THRESHOLD, correlate, first_crossing, smooth

__all__ = [
    "FIRST_RING",
    "MAX_PIXELS",
    "THRESHOLD",
    "FourierCorrelation",
    "correlate",
    "first_crossing",
    "fourier_correlation",
    "smooth",
]
