"""Drift from the sample's own structure: windows of time, their displacements, and the curve that fits them."""
