"""Commands that start, resume, follow or show a run."""
