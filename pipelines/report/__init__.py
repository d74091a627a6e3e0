"""The report of a run: one HTML file, generated from the run folder and its table."""
