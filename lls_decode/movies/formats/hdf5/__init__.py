"""Movies in HDF5 files: any dataset, and Imaris."""
