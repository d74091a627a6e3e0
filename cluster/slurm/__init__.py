"""Workers that run as SLURM jobs: unattended (a driver job and a job array), or for a client in this process.

SLURM runs on POSIX systems only. So does this package, which uses bash scripts, signals and POSIX file permissions.
"""
