"""The drift of a sample as a curve: displacements, files, and uncertainty over time."""
