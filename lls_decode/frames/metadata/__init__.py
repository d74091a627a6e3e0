"""Interpretation of the metadata of zarr stores: images, axes and sizes, without reading any chunk."""
