"""Drift from the own structure of a sample: windows of time, their displacements, and the curve that fits them."""
