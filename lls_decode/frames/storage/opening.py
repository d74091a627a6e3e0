"""Opening of the files of a store: choice of the kind of `Keys` for a path or an address."""

import zipfile
from pathlib import Path

from lls_decode.addresses import is_address
from lls_decode.config import StorageConfig
from lls_decode.errors import InputError
from lls_decode.frames.storage.keys import DirectoryKeys, Keys, ZipKeys

_MOVIES = {
    ".tif", ".tiff", ".dax", ".raw", ".nd2", ".czi", ".ims", ".dcimg", ".sif", ".sifx", ".stk", ".h5", ".hdf5",
}  # fmt: skip
"""Suffixes of files that must be converted first."""


def open_keys(path: str | Path, storage: StorageConfig | None = None) -> Keys:
    """Return access to the files of an existing store at a path or an address."""
    if is_address(path):
        from lls_decode.frames.storage.remote import is_zip, remote_keys  # not needed for local datasets
        from lls_decode.frames.storage.remote_zip import RemoteZipKeys

        keys = remote_keys(str(path), storage or StorageConfig())
        return RemoteZipKeys(keys) if is_zip(str(path)) else keys
    path = Path(path)
    if path.is_dir():
        return DirectoryKeys(path)
    if zipfile.is_zipfile(path):
        return ZipKeys(path)
    if path.suffix.lower() == ".zip":
        raise InputError(f"{path} is not a complete zip: the list of its files, at its end, is missing; restore it.")
    hint = (
        "convert it first with 'lls-decode convert'"
        if path.suffix.lower() in _MOVIES
        else "give the path of a zarr store"
    )
    raise InputError(f"{path} is a file, expected a zarr store (a directory or a zip of one); {hint}.")
