"""The files of a zarr store by key: existence, size, bytes. What zarr does not tell about chunks is asked here.

Two kinds of store: a directory, and a zip file of one.
"""

import json
import os
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore, ZipStore

from lls_decode.errors import InputError

if TYPE_CHECKING:
    ZarrArray = zarr.Array[Any]
else:  # older zarr cannot be subscripted
    ZarrArray = zarr.Array

_MOVIES = {
    ".tif", ".tiff", ".dax", ".raw", ".nd2", ".czi", ".ims", ".dcimg", ".sif", ".sifx", ".stk", ".h5", ".hdf5",
}  # fmt: skip
"""Suffixes of files that are converted first."""


class DirectoryKeys:
    """Keys are paths relative to a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """How messages call this store."""
        return str(self.root)

    def size(self, key: str) -> int | None:
        """Bytes of the file, None when there is none."""
        try:
            return os.stat(self.root / key).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``start``; all that follow when negative."""
        with open(self.root / key, "rb") as file:
            file.seek(start)
            return file.read(length)

    def children(self, key: str) -> list[str]:
        """Names of the folders directly below."""
        try:
            with os.scandir(self.root / key) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def open_store(self) -> Store:
        """The same files for zarr, read-only."""
        return LocalStore(self.root, read_only=True)


class ZipKeys:
    """Keys are names inside a zip file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """How messages call this store."""
        return str(self.root)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        with zipfile.ZipFile(self.root) as archive:
            return {item.filename: item.file_size for item in archive.infolist() if not item.is_dir()}

    def size(self, key: str) -> int | None:
        """Bytes of the file, None when there is none."""
        return self._sizes.get(key)

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``start``; all that follow when negative."""
        with zipfile.ZipFile(self.root) as archive, archive.open(key) as file:
            file.seek(start)
            return file.read(length)

    def children(self, key: str) -> list[str]:
        """Names of the folders directly below."""
        prefix = f"{key}/" if key else ""
        return sorted({name[len(prefix) :].split("/")[0] for name in self._sizes if _is_below(name, prefix)})

    def open_store(self) -> Store:
        """The same files for zarr, read-only."""
        return ZipStore(self.root, mode="r", read_only=True)


Keys = DirectoryKeys | ZipKeys


def open_keys(path: Path) -> Keys:
    """Access to the files of a store that exists."""
    if path.is_dir():
        return DirectoryKeys(path)
    if zipfile.is_zipfile(path):
        return ZipKeys(path)
    hint = (
        "convert it first with 'lls-decode convert'"
        if path.suffix.lower() in _MOVIES
        else "give the path of a zarr store"
    )
    raise InputError(f"{path} is a file, expected a zarr store (a directory or a zip of one); {hint}.")


def join(*parts: str) -> str:
    """Key made of parts, empty ones left out."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def read_json(keys: Keys, key: str) -> dict[str, Any] | None:
    """A metadata document, None when absent."""
    if keys.size(key) is None:
        return None
    try:
        document = json.loads(keys.read(key))
    except (OSError, ValueError) as error:
        raise InputError(f"{keys.name}: metadata {key} cannot be read ({error}); restore this file.") from error
    if not isinstance(document, dict):
        raise InputError(f"{keys.name}: metadata {key} holds {type(document).__name__}, expected a mapping.")
    return document


def _is_below(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and "/" in name[len(prefix) :]
