"""The page about a run: one HTML file, drawn from the run's folder and its table."""
