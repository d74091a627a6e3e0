"""Access to zarr stores: the stores that a path refers to, and the files of each store by key."""
