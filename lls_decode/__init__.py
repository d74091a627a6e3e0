"""Streaming deep single-molecule localization of lattice light-sheet volumes."""

__version__ = "0.1.0"
