"""Measurement of sample drift during an acquisition, and drift correction of tables.

`estimate_drift` measures a `DriftCurve` (by redundant cross-correlation, by beads, or by another package),
`correct_table` corrects the rows of a table with it, `undo_correction` reverts this, and `correct_drift` does what the
command does.
"""

from lls_decode.drift.correcting import Corrected, correct_drift
from lls_decode.drift.curve.curve import DriftCurve
from lls_decode.drift.curve.files import read_curve, write_curve
from lls_decode.drift.estimating import Method, estimate_drift
from lls_decode.drift.figure import draw_curve
from lls_decode.drift.shifting import correct_table, undo_correction

__all__ = [
    "Corrected",
    "DriftCurve",
    "Method",
    "correct_drift",
    "correct_table",
    "draw_curve",
    "estimate_drift",
    "read_curve",
    "undo_correction",
    "write_curve",
]
