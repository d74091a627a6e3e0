"""Diagnosis of a truth and a table that do not agree: probable mistakes are measured and named, never corrected."""

from lls_decode.evaluate.diagnosis.change import PLANE_ORDERS, PlaneOrder, TruthChange
from lls_decode.evaluate.diagnosis.diagnose import diagnose
from lls_decode.evaluate.diagnosis.findings import Cause, Diagnosis

__all__ = ["PLANE_ORDERS", "Cause", "Diagnosis", "PlaneOrder", "TruthChange", "diagnose"]
