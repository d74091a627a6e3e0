"""Workers that are jobs of SLURM: unattended (driver job and job array), or interactive (dask-jobqueue)."""
