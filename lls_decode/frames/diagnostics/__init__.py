"""Diagnosis of a dataset from its frames: saturation, signs of deskewing, camera gain, cost of reading."""

from lls_decode.frames.diagnostics.inspect import decoded_pixels, inspect_source

__all__ = ["decoded_pixels", "inspect_source"]
