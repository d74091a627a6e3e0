"""Datasets given as open objects: arrays of NumPy, Dask or HDF5, and zarr arrays and groups."""

from lls_decode.frames.handles.arrays import ArrayLike, ArraySource, open_array
from lls_decode.frames.handles.zarr_nodes import StoreSource, open_zarr_node

__all__ = ["ArrayLike", "ArraySource", "StoreSource", "open_array", "open_zarr_node"]
