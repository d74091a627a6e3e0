"""Drift from fiducial beads: where they are, their tracks, and which of them agree."""
