"""Frames: a zarr store becomes volumes of planes, other files become a zarr store."""

from lls_decode.frames.checksums import verify_store
from lls_decode.frames.codecs import use_fast_codecs
from lls_decode.frames.convert import convert
from lls_decode.frames.create import create_store
from lls_decode.frames.deskew import Deskewed, deskew
from lls_decode.frames.inspect import decoded_pixels, inspect_source
from lls_decode.frames.opening import open_source
from lls_decode.frames.source import FrameSource, FrameStack

__all__ = [
    "Deskewed",
    "FrameSource",
    "FrameStack",
    "convert",
    "create_store",
    "decoded_pixels",
    "deskew",
    "inspect_source",
    "open_source",
    "use_fast_codecs",
    "verify_store",
]
