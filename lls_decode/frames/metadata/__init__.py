"""What the metadata of a zarr store say: its images, their axes and sizes. Nothing here reads a chunk."""
