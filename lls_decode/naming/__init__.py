"""Meaning and order of the names of files and stores that form one movie.

Everything here is decided by names alone, without I/O, so that folders of TIFFs and folders of zarr stores follow the
same rules.
"""
