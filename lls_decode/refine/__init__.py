"""Fits and bounds of single emitters, and PSFs from beads."""

from lls_decode.refine.crlb import Spots, crlb
from lls_decode.refine.mle import SpotFits, fit_spots

__all__ = ["SpotFits", "Spots", "crlb", "fit_spots"]
