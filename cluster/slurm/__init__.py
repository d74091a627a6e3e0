"""Workers that are jobs of SLURM: unattended (a driver job and a job array), or for a client in this process."""
