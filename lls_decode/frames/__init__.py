"""Datasets: zarr stores as volumes of planes."""

from lls_decode.frames.checksums import verify_store
from lls_decode.frames.codecs import use_fast_codecs
from lls_decode.frames.create import create_store
from lls_decode.frames.opening import open_source
from lls_decode.frames.reading.stack import FrameStack
from lls_decode.frames.source import FrameSource

__all__ = [
    "FrameSource",
    "FrameStack",
    "create_store",
    "open_source",
    "use_fast_codecs",
    "verify_store",
]
