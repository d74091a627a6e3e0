"""Movies in HDF5 files: plain datasets, and Imaris files."""
