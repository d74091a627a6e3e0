"""The drift of a sample as a curve: its displacements, files, and how well it is known at each time."""
