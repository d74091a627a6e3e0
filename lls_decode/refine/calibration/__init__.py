"""PSF calibration from bead stacks: find beads, align and average them, fit a spline, report the residuals."""

from lls_decode.refine.calibration.calibration import BeadFit, Calibration, calibrate
from lls_decode.refine.calibration.report import write_report

__all__ = ["BeadFit", "Calibration", "calibrate", "write_report"]
