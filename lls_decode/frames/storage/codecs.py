"""Choice of the codecs that decode chunks: zarr's own, or the Rust codecs of ``zarrs`` (extra ``fast``).

Both check chunks before decompression (`bounded`).
"""

import importlib.util
import threading

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from lls_decode.frames.storage import bounded as bounded  # registers the pipeline
from lls_decode.frames.storage.keys import ZarrArray

_PLAIN = "lls_decode.frames.storage.bounded.BoundedPipeline"
_FAST = "lls_decode.frames.storage.bounded_fast.BoundedFastPipeline"
_lock = threading.Lock()


def use_fast_codecs() -> bool:
    """Use ``zarrs`` to decode chunks in this process if it is installed; return whether it is used.

    This affects arrays that are opened later; `FrameSource` opens its array at the first read.
    """
    if importlib.util.find_spec("zarrs") is None:
        return False
    importlib.import_module("lls_decode.frames.storage.bounded_fast")
    zarr.config.set({"codec_pipeline.path": _FAST})
    return True


def open_array(store: Store, path: str) -> ZarrArray:
    """Open an array for reading; byte orders and stores that ``zarrs`` does not support use zarr's own codecs."""
    if not isinstance(store, LocalStore) or zarr.config.get("codec_pipeline.path") != _FAST:
        return _open_plain(store, path)
    array = zarr.open_array(store, path=path, mode="r")
    return array if array.dtype.isnative else _open_plain(store, path)


def _open_plain(store: Store, path: str) -> ZarrArray:
    with _lock, zarr.config.set({"codec_pipeline.path": _PLAIN}):
        return zarr.open_array(store, path=path, mode="r")
