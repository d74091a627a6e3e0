"""Rectangles of stored arrays to frames of a block, and what becomes of those that cannot be read."""
