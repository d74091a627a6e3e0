"""Interpretation of another program's columns: units, first numbers, channels and source files."""
