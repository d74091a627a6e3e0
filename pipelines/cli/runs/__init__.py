"""Commands that start, resume, follow or show runs."""
