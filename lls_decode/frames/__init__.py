"""Reading and writing of datasets: zarr stores as volumes of planes."""

from lls_decode.frames.opening import open_source
from lls_decode.frames.reading.stack import FrameStack
from lls_decode.frames.source import FrameSource
from lls_decode.frames.storage.codecs import use_fast_codecs
from lls_decode.frames.writing.checksums import verify_store
from lls_decode.frames.writing.create import create_store

__all__ = [
    "FrameSource",
    "FrameStack",
    "create_store",
    "open_source",
    "use_fast_codecs",
    "verify_store",
]
