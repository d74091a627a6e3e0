"""Many datasets with one command, on the same workers."""
