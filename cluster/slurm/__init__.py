"""Workers that are jobs of SLURM: unattended (a driver job and a job array), or for a client in this process.

SLURM runs on POSIX systems only, and so does this package: job scripts in bash, signals, files of the user only.
"""
