"""How the bytes of zarr stores are reached: which stores a path means, and the files of each by key."""
